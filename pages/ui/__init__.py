"""What the pages share: navigation, set-up, the current choice, and a few building blocks. Pages call the core."""
