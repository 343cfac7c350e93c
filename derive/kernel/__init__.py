"""What a theorem is, and the rules that can make one.

TRUSTED, with `derive/language/term.py` and `scope.py`, `derive/sharing.py`, and nothing else.
"""
