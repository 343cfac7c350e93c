"""The third judge: both sides of an equation are evaluated on concrete random laws and functions, with their derivatives.

It shares the language with the other two judges and nothing else. "differ" stands on two computations by different rules, far
apart; "agree" is evidence, no proof.
"""

from derive.instances.opinion import Opinion as Opinion, compare as compare, opinions as opinions

__all__ = ["Opinion", "compare", "opinions"]
