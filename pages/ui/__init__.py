"""What the pages are made of, by page; `shell` holds what all of them share. Pages call the core, never each other."""
