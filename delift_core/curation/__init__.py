"""The curator's session: from a finished scoring run to a selection, its edits and its manifest.

Reading order: `scoring_runs` (start, watch and open runs of a workspace), `problem` (a run in one metric under one
objective), `presets` (named objectives, quotas by column), `subset` (a selection and the edits on it), `curate` (what a
curator does, over a workspace), `manifest` (how a subset came about), `reload_inputs` (its files, read again),
`reliability` (how far a selection from part of the pairs can be trusted), `pair_reading` (one pair token by token) and
`umap_layout` (the map).
"""
