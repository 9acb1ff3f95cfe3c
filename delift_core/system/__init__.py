"""The machine and general helpers.

`files`, `memory`, `processes`, `logs`, `hub`, `access` (roles), `codec` (JSON), `texts` (amounts and checks as text)
and `callbacks` (progress and stopping).
"""
