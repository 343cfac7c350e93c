"""Variables with an explicit finite law, as they are written: any outcomes, bits, classes, signs; and tables at an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from derive.language.choice import ChoiceLaw
from derive.language.errors import UsageError
from derive.language.exactness import exact
from derive.language.expected import a_name, a_variable
from derive.language.notation import exp, sigmoid, total
from derive.language.term import Entry, Exact, Number, RandomVariable, Term, lift

Value: TypeAlias = "int | Fraction"
Row: TypeAlias = tuple[Fraction, ...]
Outcome: TypeAlias = "tuple[Value | tuple[Value, ...], Exact]"


def choice(name: str, *outcomes: Outcome) -> RandomVariable:
    """A variable with an explicit finite law.

    Numbers that are drawn together, such as a coupled pair, are a tuple: then the variable is the number of the outcome, from 0
    in the order in which they are given, and `coordinate(b, i)` the i-th number of the tuple.

    Args
        name      the name of the variable
        outcomes  pairs (value, probability): a number or a tuple of numbers, all different, and a term; what cannot happen may
                  be left out

    Raises
        UsageError, if a value stands twice, tuples differ in length, or numbers that are no probabilities are given for them.
        NotExact, NotATerm, if a value is no exact number, a probability no term.

    >>> from derive.language.notation import parameter
    >>> s = sigmoid(parameter("theta"))
    >>> print(choice("b", (1, s), (0, 1 - s)).law)
    Choice(.; 1: sigmoid(theta), 0: 1 - sigmoid(theta))
    >>> pair = choice("pair", ((0, 1), Fraction(1, 2)), ((1, 0), Fraction(1, 2)))
    >>> print(coordinate(pair, 0) + coordinate(pair, 1))
    pair[0] + pair[1]
    """
    a_name(name, "variable")
    known: dict[Row, Term] = {}
    for value, probability in _pairs(name, outcomes):
        row = tuple(map(exact, value)) if isinstance(value, tuple) else (exact(value),)
        if row in known:
            message = f"the outcome {value} of {name} stands twice: give it once, with the sum of the probabilities."
            raise UsageError(message)
        known[row] = lift(probability)
    _refuse_no_law(name, known)
    together = any(isinstance(outcome[0], tuple) for outcome in outcomes)
    values = tuple(map(Fraction, range(len(known)))) if together else tuple(row[0] for row in known)
    joint = tuple(known) if together else ()
    return RandomVariable(name, ChoiceLaw("Choice", tuple(known.values()), values=values, joint=joint))


def _pairs(name: str, outcomes: Sequence[object]) -> list[tuple[Any, Any]]:
    for outcome in outcomes:
        if not isinstance(outcome, tuple) or len(outcome) != 2:
            message = f"an outcome of {name} is a pair (value, probability), such as (1, s); got {outcome!r}."
            raise UsageError(message)
    return list(outcomes)  # type: ignore[arg-type]


def _refuse_no_law(name: str, known: dict[Row, Term]) -> None:
    if len({len(row) for row in known}) != 1 or () in known:
        message = f"the outcomes of {name} are numbers, or tuples of one length; got {len(known)} of other kinds."
        raise UsageError(message)
    numbers = [term.value for term in known.values() if isinstance(term, Number)]
    whole = sum(numbers) == 1 if len(numbers) == len(known) else sum(numbers) <= 1
    if not whole or any(number < 0 for number in numbers):
        message = f"the probabilities of {name} are not negative and sum to 1; the numbers among them are {_listed(numbers)}."
        raise UsageError(message)


def _listed(numbers: Sequence[Fraction]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def bernoulli(name: str, *, probability: Exact | None = None, logit: Exact | None = None) -> RandomVariable:
    """A bit: 1 with the probability, or with sigmoid(logit), else 0.

    Raises
        UsageError, unless one of both is given.
    """
    if probability is None and logit is not None:
        one: Term = sigmoid(logit)
    elif logit is None and probability is not None:
        one = lift(probability)
    else:
        message = f"the bit {name} has a probability or a logit: say one of them, as bernoulli({name!r}, logit=theta)."
        raise UsageError(message)
    return choice(name, (1, one), (0, 1 - one))


def categorical(name: str, *, logits: Sequence[Exact]) -> RandomVariable:
    """One of the classes 0, 1, ..., each with the probability exp(logits[k]) / sum of exp(logits).

    Raises
        UsageError, if the logits are no tuple, or there is none.
    """
    if not isinstance(logits, (tuple, list)) or not logits:
        message = f"the logits of {name} are a tuple of terms, such as (theta, 0); got {logits!r}."
        raise UsageError(message)
    weights = [exp(logit) for logit in logits]
    whole = total(weights)
    return choice(name, *((k, weight / whole) for k, weight in enumerate(weights)))


def rademacher(name: str) -> RandomVariable:
    """A sign: 1 or -1, each with the probability 1/2.

    >>> print(rademacher("d").law)
    Choice(.; 1: 1/2, -1: 1/2)
    """
    return choice(name, (1, Fraction(1, 2)), (-1, Fraction(1, 2)))


def entry(variable: RandomVariable, table: Sequence[Exact]) -> Term:
    """The entry of a table at an outcome: `table[k]` where the variable has the k-th of its values.

    Of zeros and a one it is an indicator.

    Raises
        UsageError, if the variable has no explicit finite law, or the table another number of entries.

    >>> from derive.language.notation import constant
    >>> print(entry(rademacher("d"), (constant("up"), 0)))
    entry(d; 1: up, -1: 0)
    """
    law = _explicit(variable)
    given = len(table) if isinstance(table, (tuple, list)) else f"a {type(table).__name__}"
    if given != len(law.values):
        message = f"a table at {variable.name} is a tuple with an entry for each of its {len(law.values)} values; got {given}."
        raise UsageError(message)
    return Entry(law.values, tuple(map(lift, table)), variable)


def coordinate(variable: RandomVariable, index: int) -> Term:
    """The number at a place, from 0, of those that are drawn together.

    Raises
        UsageError, if the outcomes of the variable are no tuples, or there is no such place.
    """
    law = _explicit(variable)
    if not law.joint or type(index) is not int or not 0 <= index < len(law.joint[0]):
        outcome = _listed(law.joint[0] if law.joint else law.values[:1])
        message = f"{variable.name} has no coordinate {index!r}: an outcome of it is {outcome}."
        raise UsageError(message)
    return entry(variable, [row[index] for row in law.joint])


def _explicit(variable: RandomVariable) -> ChoiceLaw:
    law = a_variable(variable, "entry(b, (0, 1))").law
    if not isinstance(law, ChoiceLaw):
        message = f"{variable.name} has no explicit finite law: expected a variable that choice, bernoulli or rademacher makes."
        raise UsageError(message)
    return law
