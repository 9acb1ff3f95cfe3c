"""Other ways to choose rows, each by its published definition: what the utility matrix has to beat.

Reading order: `catalogue` (the methods, their sources, what each needs), `facts` (what an order is made from),
`orders` and `scores` (pure functions, one a method), `measure` (forward passes), `less` (gradients), `ordering` (a
method's whole order of a pool). A method orders the whole pool, so that any budget is a prefix of it.
"""
