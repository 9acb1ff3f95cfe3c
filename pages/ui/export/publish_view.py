"""Saves an exported file as a folder for `datasets`, or uploads it to the Hub."""

from pathlib import Path

import streamlit as st

from delift_core.export.publish import push_to_hub, save_to_disk
from delift_core.system.access import Actor
from pages.ui.shell.blocks import clear_errors, plain
from pages.ui.shell.display import short_path


def publish_view(out: Path, actor: Actor) -> None:
    """A button for the folder, and a form for the Hub; the token is cleared when the form is submitted."""
    with st.expander("Publish", icon=":material/cloud_upload:", type="compact"):
        folder = out.with_name(f"{out.stem}.dataset")
        if folder.exists():
            st.caption(plain(f"Saved to {short_path(folder)}; load it with datasets.load_from_disk."))
        elif st.button("Save for datasets.load_from_disk", icon=":material/folder:", help=plain(short_path(folder))):
            with clear_errors():
                rows = save_to_disk(out, folder, actor=actor)
                st.toast(plain(f"{folder.name}: {rows:,} rows"), icon=":material/check_circle:")
                st.rerun()
        with st.form("push", clear_on_submit=True, border=False):
            repo = st.text_input("Hugging Face data set", placeholder="owner/name")
            token = st.text_input("Token", type="password", help="Used only for this upload, and stored nowhere.")
            public = st.toggle("Public", help="Only for a new repository; otherwise it is private.")
            pressed = st.form_submit_button("Push to the Hub", icon=":material/cloud_upload:")
        if pressed:
            with clear_errors(), st.spinner("Uploading…"):
                address = push_to_hub(out, repo.strip(), token, actor=actor, private=not public)
                st.success(plain(f"{repo.strip()} uploaded: {address}"), icon=":material/check_circle:")
