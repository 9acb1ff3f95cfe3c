"""Export: from a kept selection to a file for the trainer, with a manifest beside it that says how it came about.

Reading order: `writers` (samples to lines to a file), `manifest` (what is written down about it), `export` (a selection
to both files), `checks` (what to look at before), `shapes` and `trainers` (what trainers make of the file), `recipes`,
`card` and `side_files` (what they need to read it), `inputs` (the files it was made from, found again) and `verify`
(the written files against their manifest). This package knows nothing of pages or commands.
"""
