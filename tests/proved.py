"""The verdicts of the catalogue, each found once by a process: many tests look at what follows from them."""

from __future__ import annotations

from functools import cache

from derive.catalogue import catalogue
from derive.verdicts.prover import prove
from derive.verdicts.verdict import Verdict


@cache
def proved(name: str) -> Verdict:
    """The verdict of an entry, by a prover that no test has changed."""
    return prove(catalogue[name])
