"""The curator's session: from a finished scoring run to a selection, its edits and its manifest.

Reading order: `scoring_runs` (start, watch and open the runs of a workspace), `selector` (selects from a run),
`run_orders` (other methods on a run), `curate` (a selection with its edits, and what a curator does), `manifest` (how a
subset was made, and its inputs read again), `reliability` (how far a selection from some of the pairs can be trusted),
`pair_reading` (one pair token by token) and `umap_layout` (the map).
"""
