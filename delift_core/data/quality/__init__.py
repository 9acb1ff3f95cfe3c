"""What is wrong with the rows of a data set, and what to do about it.

Reading order: `checks` (classes of problems), `fixes` (one record mended), `cleaning` (a data set mended, or rows left
out), `duplicates` and `paraphrases` (rows that say the same), `facets` and `signals` (what rows can be filtered by).
"""
