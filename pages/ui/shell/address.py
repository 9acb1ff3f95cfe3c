"""What a page itself writes into the address, besides the widgets that are bound to it.

For each write, Streamlit sends the browser the whole address as the server knew it when the run began. That would
overwrite a widget that was changed in the meantime, so only changes are written.
"""

import re
from collections.abc import Sequence

import streamlit as st


def name_of(kind: str, words: str) -> str:
    """A name for a part of the address, also used as a widget key: letters, digits and underscores."""
    return f"{kind}_" + re.sub(r"\W+", "_", words).strip("_").lower()


def put(name: str, value: str | Sequence[str] | None) -> None:
    """Sets a part of the address to a value, or to several in order; removes it if there are none."""
    values = [value] if isinstance(value, str) else list(value or ())
    if st.query_params.get_all(name) == values:
        return
    if values:
        st.query_params[name] = values[0] if len(values) == 1 else values
    else:
        del st.query_params[name]
