"""What the names of a typed derivation stand for: variables with their laws, functions, abbreviations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain

from derive.language.errors import UsageError
from derive.language.estimator import Estimator
from derive.language.named import PARAMETERS
from derive.language.term import (
    Apply,
    Density,
    Expect,
    Function,
    Law,
    NamedLaw,
    Over,
    RandomVariable,
    Score,
    Slope,
    Term,
    subterms,
)
from derive.printing.folding import WORDS

RESERVED = frozenset((
    "E", "Var", "Cov", "KL", "sum", "prod", "int", "grad", "lim", "log", "exp", "sigmoid", "sign", "sg", "Normal", "Uniform",
    *WORDS, *PARAMETERS, "estimator", "continuous", "differentiable", "relaxation", "not", "needs", "by", "with",
))  # fmt: skip
"""What a reader takes for an operation, and what a derivation says in words: no names."""
_OPERATOR = re.compile(r"(E|sum|int|d|grad)_.*")


@dataclass
class Setting:
    """Names and what they stand for; a name that is in none of these is a symbol, or a function where arguments follow it."""

    variables: dict[str, RandomVariable] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    names: dict[str, Term] = field(default_factory=dict)
    laws: list[Law] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)

    def use(self, name: str, role: str) -> None:
        """Keep what a name is used as.

        Raises
            UsageError, if it is reserved, or was used as something else: theta drawn and differentiated, f alone and f(b).
        """
        if name in RESERVED or _OPERATOR.fullmatch(name):
            message = f"{name!r} is no name of a {role}: it is read as an operation."
            raise UsageError(message)
        if self.roles.setdefault(name, role) != role:
            message = f"{name!r} stands for a {self.roles[name]} and for a {role}: call one of them otherwise."
            raise UsageError(message)

    def declare(self, variable: RandomVariable) -> None:
        """Add a variable.

        Raises
            UsageError, if its name is taken, or a variable of another name has a law that is called the same: a reader would
            take them for two laws, and the kernel for one. b_1 and b_2 are copies of b, which share theirs.
        """
        other = self.variables.get(variable.name)
        if other not in (None, variable):
            message = f"{variable.name} is drawn from two laws."
            raise UsageError(message)
        for known in self.variables.values():
            same = _called(known.law) == _called(variable.law) != ""
            if same and _base(known.name) != _base(variable.name):
                message = (
                    f"{known.name} and {variable.name} both have a law {_called(known.law)}: call one of them q,"
                    f" or, where they are copies, name them b_1 and b_2."
                )
                raise UsageError(message)
        self.use(variable.name, "variable")
        if _called(variable.law):
            self.use(_called(variable.law), "law")
        self._keep(variable)

    def function(self, function: Function) -> None:
        """Add what is known of a function.

        Raises
            UsageError, if its name is taken, by another function too.
        """
        self.use(function.name, "function")
        if self.functions.setdefault(function.name, function) != function:
            message = f"{function.name} is declared twice, and not as the same."
            raise UsageError(message)

    def _keep(self, variable: RandomVariable) -> None:
        self.variables[variable.name] = variable
        self._law(variable.law)

    def _law(self, law: Law) -> None:
        if law not in self.laws:
            self.laws.append(law)

    def called(self, head: str) -> bool:
        """Whether a law has this name."""
        return any(_called(law) == head for law in self.laws)

    def law(self, head: str, terms: tuple[Term, ...]) -> Law:
        """Return the law of a name with these parameters and conditions.

        Raises
            UsageError, if there is none.
        """
        for law in self.laws:
            if _called(law) == head and law.terms == terms:
                return law
        message = f"no law {head} with such parameters and conditions was declared, as in 'b ~ p(b; theta)'."
        raise UsageError(message)


def setting_of(estimator: Estimator) -> Setting:
    """Return the setting of an estimator: what its formula, its target, its draws and its definitions name.

    Raises
        UsageError, if one name stands for two things.

    >>> from derive.catalogue.score_function import estimator
    >>> sorted(setting_of(estimator).variables), sorted(setting_of(estimator).functions)
    (['b'], ['f'])
    """
    setting = Setting(names=dict(estimator.where))
    written = (estimator.formula, estimator.target, *estimator.draws, *setting.names.values())
    for term in chain.from_iterable(map(subterms, written)):
        if isinstance(term, RandomVariable | Expect | Over):
            variable = term if isinstance(term, RandomVariable) else term.variable
            if setting.variables.get(variable.name, variable) != variable:
                message = f"{variable.name} is drawn from two laws in {estimator.name}, so that a text cannot tell them apart."
                raise UsageError(message)
            setting._keep(variable)
        elif isinstance(term, Density | Score):
            setting._law(term.law)
        elif isinstance(term, Apply):
            _keep_function(setting, term.function)
    setting.roles = dict.fromkeys(map(_called, setting.laws), "law") | dict.fromkeys(setting.functions, "function")
    setting.roles |= dict.fromkeys(setting.names, "abbreviation") | dict.fromkeys(setting.variables, "variable")
    return setting


def _keep_function(setting: Setting, function: Function) -> None:
    function = function.orders[0] if isinstance(function, Slope) else function
    if setting.functions.setdefault(function.name, function) != function:
        message = f"{function.name} stands for two functions, which a text cannot tell apart."
        raise UsageError(message)


def _called(law: Law) -> str:
    return "" if isinstance(law, NamedLaw) else str(getattr(law, "name", ""))


def _base(name: str) -> str:
    return re.sub(r"_\d+$", "", name)
