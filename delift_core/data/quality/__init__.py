"""Quality of a data set: issues, fixes, duplicates, and labels to filter by.

Reading order: `checks` (classes of issues), `fixes` (of one record), `cleaning` (of a data set), `duplicates` (copies
and paraphrases), `facets` (labels of rows).
"""
