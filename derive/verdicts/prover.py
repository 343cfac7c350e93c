"""Judge an estimator: derive it, evaluate it exactly, and let the two readings agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from derive.exact import comparison as exact
from derive.exact.comparison import Comparison
from derive.instances import opinions
from derive.kernel.recheck import recheck
from derive.language.errors import Disagreement, NotEvaluable, RuleError, TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.language.scope import alpha_equal, substitute
from derive.language.term import Symbol, Term, lift
from derive.printing import html, latex, markdown, text
from derive.printing.conclusion import Conclusion
from derive.proofs.calc import Derivation, chain_of
from derive.proofs.tactic import Finding, find, find_further
from derive.samples.reduction import Reduced, in_the_mean
from derive.samples.statistic import EVERY, Sampled
from derive.verdicts.conditions import conditions_of
from derive.verdicts.instances import opinion_of
from derive.verdicts.verdict import BY_HAND, Counterexample, Verdict
from derive.verdicts.words import Evidence, judged

_REMAINDER = "the search for a derivation left a remainder"
OUTCOMES = (2, 3, 4)
LONGEST_REMARK = 300
MOST_OUTCOMES, MOST_TUPLES = 8, 20_000
_DOCUMENTS: dict[str, Callable[[Estimator, Derivation | None, Conclusion], str]] = {
    "text": text.document,
    "markdown": markdown.document,
    "latex": latex.document,
    "html": html.document,
}


def prove(
    estimator: Estimator, outcomes: Iterable[int] = OUTCOMES, samples: int | str | None = None, *, search: bool = True
) -> Verdict:
    """Decide whether an estimator is unbiased, and if not, by exactly how much.

    Args
        estimator  what to judge
        outcomes   the numbers of outcomes on which mean and target are compared exactly, each for all laws at once
        samples    judge the member of its family with so many samples, or the average of so many copies; "every": all members
                   at once, of a family that `derive.notation.samples` has made
        search     find a derivation where none is written by hand

    Raises
        UsageError, if a number of outcomes is below 2; TooLarge, if nothing of the comparison is feasible.
        Disagreement, if derivation, exact evaluator and random instances contradict each other: a bug in gradproof.

    >>> from derive.catalogue import catalogue
    >>> prove(catalogue["score-function"]).verdict
    'proved'
    """
    numbers = tuple(outcomes)
    if not numbers or min(numbers) < 2:
        message = f"a law needs at least 2 outcomes; got {min(numbers, default=0)}."
        raise UsageError(message)
    if samples == EVERY:
        return _for_every(estimator, numbers, search=search)
    if isinstance(samples, str):
        message = f"samples is a number, or {EVERY!r}; got {samples!r}."
        raise UsageError(message)
    if samples is not None:
        estimator = estimator.with_samples(samples)
    return _of_so_many(_judged(estimator, numbers, search=search), estimator)


def _of_so_many(verdict: Verdict, estimator: Estimator) -> Verdict:
    """Say for how many samples a verdict is, where an estimator is stated for every number of them."""
    family = estimator.family
    if not isinstance(family, Sampled) or verdict.verdict == "undecided":
        return verdict
    number, drawn = family.each.number.name, len(estimator.draws) - len(family.before)
    said = f'for {number} = {drawn}; samples="{EVERY}" is about every {number}'
    return replace(verdict, remark="; ".join(filter(None, [verdict.remark, said])))


def _judged(estimator: Estimator, numbers: tuple[int, ...], *, search: bool) -> Verdict:
    tried: list[str] = []
    derivation, finding = _derive(estimator, tried, search=search)
    comparisons = _compare(estimator, numbers, finding, tried)
    if finding is not None and derivation is None and finding.scale is None and not _differs(comparisons):
        derivation = _further(estimator, tried)
    if derivation is None:
        _extend(estimator, comparisons, tried)
    conditions = conditions_of(estimator)
    opinion = opinion_of(estimator, derivation, conditions.needed)
    return judged(Evidence(estimator, derivation, finding, comparisons, conditions, opinion, tried))


def _for_every(estimator: Estimator, outcomes: tuple[int, ...], *, search: bool) -> Verdict:
    """Judge the estimator of few samples that has the mean of S for every S, once both are seen to have it for some."""
    family = estimator.family
    if not isinstance(family, Sampled):
        message = f"{estimator.name!r} is not stated for every number of samples: write its means with derive.notation.samples."
        raise UsageError(message)
    _demand_member(estimator, family)
    reduced = in_the_mean(family)
    seen = _demand_same_means(family, reduced)
    verdict = _judged(reduced.estimator, outcomes, search=search)
    number = family.each.number.name
    mean = text.render(reduced.estimator.expectation)
    mean = mean if len(mean) <= LONGEST_REMARK else f"that of a formula of {len(reduced.estimator.draws)} samples"
    return replace(
        verdict,
        holds_for=_scope_of_every(verdict, f"number of samples {number} >= {reduced.fewest}"),
        remark="; ".join(filter(None, [verdict.remark, f"the mean of {number} samples is {mean}"])),
        witness=verdict.witness and _witness_of(family, reduced, outcomes),
        tried=(*verdict.tried, seen),
    )


def _scope_of_every(verdict: Verdict, number: str) -> str:
    """Of what is undecided, nothing; a bias may be zero for some numbers of samples."""
    if verdict.verdict == "undecided":
        return verdict.holds_for
    every = verdict.verdict != "refuted" or verdict.scale is not None
    return f"{verdict.holds_for}, {'and every' if every else 'with a'} {number}"


def _demand_same_means(family: Sampled, reduced: Reduced) -> str:
    """Say for which numbers of samples the mean is that of the reduced estimator, by enumeration or on instances.

    Raises
        Disagreement, if it is another one: a bug in gradproof.
        NotEvaluable, if neither can be read.
    """
    exactly, on_instances, number = list[str](), False, family.each.number
    for samples in range(reduced.fewest, reduced.fewest + reduced.degree + 1):
        full = family(samples)
        sides = full.expectation, substitute(reduced.estimator.expectation, {number: lift(samples)})
        said, enumerated = _compared(*sides, full.parameter)
        exactly += [str(samples)] if enumerated else []
        on_instances = on_instances or said == "agree"
        if said == "differ":
            message = f"{family.name!r} of {samples} samples has another mean than what it is reduced to: a bug in gradproof."
            raise Disagreement(message)
    if not exactly and not on_instances:
        message = f"no judge could compare the mean of {family.name!r} with what it is reduced to: say a number of samples."
        raise NotEvaluable(message)
    how = f"enumerated on {min(OUTCOMES)} outcomes for {number.name} = {', '.join(exactly)}" if exactly else "seen on instances"
    return f"which samples are the same was counted for every {number.name}, and the mean {how}"


def _demand_member(estimator: Estimator, family: Sampled) -> None:
    """Refuse what has the family of another estimator; it may write the same mean in its own way.

    Raises
        UsageError, if target or mean are not those of the family.
    """
    member = family(len(estimator.draws) - len(family.before))
    same = alpha_equal(estimator.target, member.target)
    if same and (estimator.formula, estimator.draws) != (member.formula, member.draws):
        same = _compared(estimator.expectation, member.expectation, member.parameter)[0] == "agree"
    if not same:
        message = f"{estimator.name!r} has another mean or target than its family has: state it anew."
        raise UsageError(message)


def _compared(left: Term, right: Term, parameter: Symbol) -> tuple[str, bool]:
    """Say whether two means agree, differ, or are read by none, and whether every outcome was enumerated."""
    try:
        return ("agree" if exact.identically_equal(left, right, parameter, min(OUTCOMES)) else "differ"), True
    except (NotEvaluable, TooLarge):
        return opinions((left, right))[0].verdict, False


def _witness_of(family: Sampled, reduced: Reduced, outcomes: tuple[int, ...]) -> Counterexample | None:
    """Return a witness with a whole number of samples."""
    for samples in range(reduced.fewest, reduced.fewest + reduced.degree + 1):
        found = prove(family(samples), outcomes, search=False).witness
        if found is not None:
            return replace(found, case={family.each.number.name: str(samples)} | found.case)
    return None


def explain(estimator: Estimator, format: str = "text") -> str:
    """Return a document: what is drawn, estimate and target, the derivation with the premises of each step, and the verdict.

    Where there is no derivation, it says for what the verdict holds and shows the bias, with a witness.

    Raises
        UsageError, if the format is none of text, markdown, latex, html; what `prove` raises.

    >>> from derive.catalogue import catalogue
    >>> "leibniz" in explain(catalogue["score-function"])
    True
    """
    if format not in _DOCUMENTS:
        message = f"the format must be one of {', '.join(_DOCUMENTS)}; got {format!r}."
        raise UsageError(message)
    found = prove(estimator)
    return _DOCUMENTS[format](estimator, found.derivation, found.conclusion)


def _derive(estimator: Estimator, tried: list[str], *, search: bool) -> tuple[Derivation | None, Finding | None]:
    """Return the hand-written derivation if it stands, else one that is found; replay it before it counts."""
    derivation, finding = None, None
    if estimator.derivation is not None:
        try:
            derivation = chain_of(estimator)
        except RuleError as error:
            tried.append(_refused(error, estimator))
    if derivation is None and search:
        try:
            finding = find(estimator, further=False)
            derivation = finding.derivation
        except (RuleError, TooLarge) as error:
            tried.append(f"the search for a derivation stopped: {error}")
        if derivation is None and finding is not None:
            tried.append(_REMAINDER)
    if derivation is not None:
        _demand(derivation, estimator)
    return derivation, finding


def _refused(error: RuleError, estimator: Estimator) -> str:
    """Say how far a hand-written derivation got, and what did not follow."""
    said = f"{BY_HAND} does not stand: {error}"
    if not isinstance(error.stood, Derivation):
        return said
    last, wanted = (text.render(term, estimator.where) for term in (error.stood.lines[-1].term, error.wanted))
    return f"{said.rstrip('.')}. The line before, which stands: {last}. The line that does not follow: {wanted}"


def _further(estimator: Estimator, tried: list[str]) -> Derivation | None:
    """Return a derivation by the second stage of the search, where the first one left a remainder."""
    try:
        derivation = find_further(estimator)
    except (RuleError, TooLarge) as error:
        tried.append(f"the second stage of the search stopped: {error}")
        return None
    if derivation is not None:
        _demand(derivation, estimator)
        tried.remove(_REMAINDER)
    return derivation


def _differs(comparisons: dict[int, Comparison]) -> bool:
    """Whether mean and target are known to differ."""
    return any(not found.zero and found.conclusive for found in comparisons.values())


def _demand(derivation: Derivation, estimator: Estimator) -> None:
    """Replay a derivation, and refuse one of something else."""
    recheck(derivation.theorem)
    ends = (derivation.theorem.lhs, estimator.target), (derivation.theorem.rhs, estimator.expectation)
    if not all(alpha_equal(found, expected) for found, expected in ends):
        message = f"the derivation of {estimator.name!r} does not lead from its target to the mean of its formula."
        raise UsageError(message)


def _compare(
    estimator: Estimator, numbers: tuple[int, ...], finding: Finding | None, tried: list[str]
) -> dict[int, Comparison]:
    """Compare mean and target exactly; stop at the first size that refutes, or that is too large if a smaller one was not."""
    comparisons: dict[int, Comparison] = {}
    for outcomes in numbers:
        try:
            comparisons[outcomes] = exact.check(estimator, outcomes)
        except NotEvaluable as error:
            tried.append(f"the exact evaluator has no reading: {error}")
            break
        except TooLarge as error:
            if not comparisons:
                raise
            tried.append(f"not compared on {outcomes} outcomes: {error}")
            break
        if _refutes(comparisons[outcomes], finding):
            break
    return comparisons


def _refutes(comparison: Comparison, finding: Finding | None) -> bool:
    """Whether one size says it all: a scale and another target need all of them."""
    is_biased = not comparison.zero and comparison.conclusive
    return is_biased and comparison.scale is None and (finding is None or finding.other is None)


def _extend(estimator: Estimator, comparisons: dict[int, Comparison], tried: list[str]) -> None:
    """Compare on as many outcomes as decide for every number, where the identity held so far and that is feasible."""
    if not comparisons or not all(found.zero for found in comparisons.values()):
        return
    needed = next(iter(comparisons.values())).extension
    if needed is None or needed.outcomes is None or needed.met(comparisons):
        return
    if needed.outcomes > MOST_OUTCOMES or needed.outcomes ** len(estimator.draws) > MOST_TUPLES:
        tried.append(f"not compared on the {needed.outcomes} outcomes that decide for all: that is too large")
        return
    try:
        for outcomes in needed.numbers:
            if outcomes not in comparisons:
                comparisons[outcomes] = exact.check(estimator, outcomes)
    except (NotEvaluable, TooLarge) as error:
        tried.append(f"not compared on the {needed.outcomes} outcomes that decide for all: {error}")
