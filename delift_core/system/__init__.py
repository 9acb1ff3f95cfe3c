"""The machine and its files: `files`, `memory`, `logs`, `processes`, `hub`, `access`, `defaults`, `amounts`."""
