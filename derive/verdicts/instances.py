"""The third judge at work: random instances of a statement, and of each line of its derivation."""

from __future__ import annotations

from collections.abc import Iterable

from derive.instances import Opinion, opinions
from derive.kernel.premises import Premise
from derive.language.errors import Disagreement
from derive.language.estimator import Estimator
from derive.proofs.calc import Derivation

_FOR_A_LINE = 2


def opinion_of(estimator: Estimator, derivation: Derivation | None, conditions: Iterable[Premise]) -> Opinion:
    """Return what instances say of mean and target, chosen so that the conditions hold.

    Raises
        Disagreement, as `opinion_of_chain`.

    >>> from derive.catalogue import catalogue
    >>> opinion_of(catalogue["score-function"], None, ()).verdict
    'agree'
    """
    if derivation is not None and len(derivation.lines) > 1:
        return opinion_of_chain(estimator, derivation, conditions)
    return opinions((estimator.target, estimator.expectation), assumptions=conditions)[0]


def opinion_of_chain(estimator: Estimator, derivation: Derivation, conditions: Iterable[Premise] = ()) -> Opinion:
    """Judge each line of a derivation by the one before it, and return the opinion on the last and the first.

    Raises
        Disagreement, naming the line, if an instance has another value there than on the line before: a bug in gradproof.
    """
    terms = [line.term for line in derivation.lines]
    assumed = (*conditions, *derivation.theorem.assumptions)
    *found, whole = opinions([*terms, terms[0]], assumptions=assumed, instances=_FOR_A_LINE)
    for number, (line, opinion) in enumerate(zip(derivation.lines[1:], found, strict=True), 2):
        if opinion.verdict == "differ":
            message = (
                f"line {number} of the derivation of {estimator.name!r}, by {line.rule}, is contradicted: {shown(opinion)} "
                "Please report this bug of gradproof."
            )
            raise Disagreement(message)
    return whole


def shown(opinion: Opinion) -> str:
    """Return an opinion that differs in one sentence, with its instance."""
    instance = "; ".join(f"{name} = {value}" for name, value in opinion.instance.items())
    return f"{opinion.reason} The instance: {instance}."
