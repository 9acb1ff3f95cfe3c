"""Maintenance of a workspace: `status` (and `doctor`), `repair`, `cleanup` of unused files, `backup`."""
