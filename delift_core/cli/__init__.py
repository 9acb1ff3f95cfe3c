"""The command line: every step of the curator's way without a screen.

`parser` says which commands and options there are, `naming` how files are named, `options` which options go together;
these import no large library. `inputs` reads files that a command names, `terminal` is what a command may print to,
`scoring` runs a scoring job under it, `long_runs` asks before one of hours. The commands are in `data_commands`,
`curate_commands`, `manifest_commands` and `upkeep_commands`, imported when they are called.

Exit codes: 0 done; 1 a check failed; 2 bad input or refused, with one line on standard error; 130 interrupted, with
everything scored so far kept.
"""

from delift_core.cli.entry import main

__all__ = ["main"]
