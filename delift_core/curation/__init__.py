"""The curator's session: from a finished scoring run to a selection, its edits and its manifest.

Reading order: `scoring_runs` (start, watch and open the runs of a workspace), `problem` (a run with a metric and an
objective), `presets` (named objectives), `grouping` (quotas over a column), `subset` (a selection with its edits),
`curate` (what a curator does), `manifest` (how a subset was made, and its inputs read again), `reliability` (how far a
selection from some of the pairs can be trusted), `pair_reading` (one pair token by token) and `umap_layout` (the map).
"""
