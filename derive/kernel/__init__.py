"""What a theorem is, and the rules that can make one.

TRUSTED, with `derive/language/term.py`, `sharing.py` and `scope.py`, and nothing else.
"""
