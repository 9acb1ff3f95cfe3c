"""Figures from arrays: pure functions that know nothing of pages, files or themes' colour lists.

A plotly figure made here carries no template; the page gives it the one of the app. Every figure has a companion
`alt_…` that says its finding in one sentence, for readers who do not see the picture.
"""
