"""Keeping a workspace in order: `status` and `doctor`, `repair`, `cleanup` of what nothing refers to, `backup`."""
