"""The machine and general helpers: `files`, `memory`, `processes`, `logs`, `hub`, `access` (roles), `codec` (JSON)."""
