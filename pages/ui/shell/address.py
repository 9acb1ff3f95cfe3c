"""What a page itself writes into the address, beside what its widgets are bound to.

Streamlit sends the browser the whole address for each write, as the server knew it when this run began. Were it sent
on every run, a widget that was set meanwhile would lose its place in the address. So only changes are written.
"""

import re
from collections.abc import Sequence

import streamlit as st


def name_of(kind: str, words: str) -> str:
    """A name for the address and the key of what is bound to it: letters, digits and underscores."""
    return f"{kind}_" + re.sub(r"\W+", "_", words).strip("_").lower()


def put(name: str, value: str | Sequence[str] | None) -> None:
    """Makes the address hold this value, or these values in their order; none of them: takes the name off it."""
    values = [value] if isinstance(value, str) else list(value or ())
    if st.query_params.get_all(name) == values:
        return
    if values:
        st.query_params[name] = values[0] if len(values) == 1 else values
    else:
        del st.query_params[name]
