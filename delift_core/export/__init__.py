"""Export: from a kept selection to a file for the trainer, with a manifest beside it that says how it came about.

Reading order: `writers` (samples to lines to a file), `manifest` (what is written down about it), `export` (a selection
to both files), `checks` (what to look at before), `shapes` and `trainers` (what trainers make of the file), `recipes`,
`card` and `side_files` (what they need to read it), `inputs` (the files it was made from, found again) and `verify`
(the written files against their manifest). This package knows nothing of pages or commands.
"""

from delift_core.export.checks import Check, checks
from delift_core.export.export import export_selection, preview
from delift_core.export.manifest import Manifest, manifest_path, read_manifest
from delift_core.export.verify import verify
from delift_core.export.writers import ExportFormat, render_lines, write_lines

__all__ = [
    "Check",
    "ExportFormat",
    "Manifest",
    "checks",
    "export_selection",
    "manifest_path",
    "preview",
    "read_manifest",
    "render_lines",
    "verify",
    "write_lines",
]
