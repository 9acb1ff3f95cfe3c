"""Figures from arrays: pure functions, independent of pages, files and themes.

A plotly figure made here has no template; the page applies that of the app. For every figure there is a function
`alt_…` that describes it in one sentence, for readers who cannot see it.
"""
