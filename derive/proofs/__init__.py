"""How theorems are found and written down: chains, derived rules, normal forms, the search.

Not trusted: the kernel checks it.
"""
