"""The word for what is known of an estimator, and no more than was shown: the table is in docs/verdicts.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from derive.exact import comparison as exact
from derive.exact.comparison import Comparison
from derive.instances import Opinion
from derive.kernel.premises import Premise
from derive.kernel.recheck import recheck
from derive.language.errors import Disagreement
from derive.language.estimator import HOLDING, Estimator
from derive.language.scope import depends
from derive.language.term import Sign, anywhere
from derive.proofs.calc import Derivation
from derive.proofs.tactic import Finding
from derive.verdicts.conditions import Conditions
from derive.verdicts.instances import opinion_of_chain, shown
from derive.verdicts.verdict import Check, Counterexample, Verdict, in_one

_IN_WORDS = {Fraction(0): "the mean is zero", Fraction(-1): "the mean is the reversed gradient"}


@dataclass(frozen=True)
class Evidence:
    """What the judges say of an estimator.

    Args
        estimator     the estimator
        derivation    the chain from the target to the mean, replayed, or None
        finding       what the search came to, None where it was not asked
        comparisons   the exact comparisons, by the number of outcomes
        conditions    what the statement needs to be true
        opinion       what random instances say of mean and target
        tried         what was tried, and what came of it; more is added
    """

    estimator: Estimator
    derivation: Derivation | None
    finding: Finding | None
    comparisons: dict[int, Comparison]
    conditions: Conditions
    opinion: Opinion
    tried: list[str]

    @property
    def checked(self) -> tuple[Check, ...]:
        """The exact comparisons, as a verdict shows them."""
        samples = len(self.estimator.draws)
        return tuple(Check(k, samples, found.zero, found.reading) for k, found in self.comparisons.items())

    @property
    def holds(self) -> bool:
        """Whether no comparison found a difference."""
        return all(found.zero for found in self.comparisons.values())

    @property
    def extended(self) -> str:
        """For what the identity holds by the theorem that extends it, "" where it does not."""
        extensions = (found for found in self.comparisons.values() if found.extension is not None)
        met = (found.for_all for found in extensions if found.extension is not None and found.extension.met(self.comparisons))
        return next(met, "")


def judged(evidence: Evidence) -> Verdict:
    """Return the verdict.

    Raises
        Disagreement, if the derivation, the exact evaluator or the instances contradict each other: a bug in gradproof.
    """
    return _held(evidence) if evidence.holds else _differing(evidence)


def _held(evidence: Evidence) -> Verdict:
    """Return the verdict where no difference was found."""
    failures, tried = evidence.conditions.failures, evidence.tried
    if failures:
        tried.extend(failures)
        return _undecided(evidence)
    _demand_instances(evidence)
    seen = bool(evidence.comparisons) or (evidence.derivation is not None and evidence.opinion.verdict == "agree")
    if not seen or evidence.opinion.verdict == "silent":
        tried.append(_instances(evidence))
    if not evidence.opinion.met:
        tried.append("on none of the instances that were tried do the conditions hold: they may contradict each other")
    if not (seen and evidence.opinion.met):
        return _undecided(evidence)
    if _is_vacuous(evidence):
        return _verdict(evidence, "vacuous", _scope_of(evidence), remark="target and mean are zero: nothing was tested")
    if evidence.derivation is not None or evidence.extended:
        return _verdict(evidence, "proved", _scope_of(evidence))
    tried.extend(_not_extended(evidence))
    return _verdict(evidence, "checked", _scope_of(evidence))


def _demand_instances(evidence: Evidence) -> None:
    """Judge what the kernel or the exact evaluator says of mean and target."""
    if evidence.opinion.verdict == "differ" and (evidence.derivation is not None or evidence.comparisons):
        judge = "the evaluator finds no difference" if evidence.derivation is None else "the kernel derives it"
        message = f"of {evidence.estimator.name!r} {judge}, instances refute it: {shown(evidence.opinion)} Please report it."
        raise Disagreement(message)


def _instances(evidence: Evidence) -> str:
    opinion = evidence.opinion
    reason = shown(opinion) if opinion.verdict == "differ" else opinion.reason
    return f"random instances {'were not read' if opinion.verdict == 'silent' else 'were compared'}: {reason}"


def _is_vacuous(evidence: Evidence) -> bool:
    moves = depends(evidence.estimator.objective, evidence.estimator.parameter)
    read = [found.trivial for found in evidence.comparisons.values()]
    read = read or [evidence.opinion.trivial and not _may_be_flat(evidence)]
    return not moves or all(read)


def _may_be_flat(evidence: Evidence) -> bool:
    """Whether instances may see a mean that does not move only because a function has one sign on each of them."""
    return anywhere(evidence.estimator.expectation, lambda part: isinstance(part, Sign))


def _scope_of(evidence: Evidence) -> str:
    """Say for what an identity holds."""
    if evidence.derivation is None:
        return evidence.extended or _checked_for(evidence)
    assumed = evidence.derivation.theorem.assumptions
    return "every law that meets the assumptions" if assumed else "every law"


def _not_extended(evidence: Evidence) -> list[str]:
    reasons = [found.extension.reason for found in evidence.comparisons.values() if found.extension is not None]
    return [f"it is not extended to all cases: {reason}" for reason in dict.fromkeys(reasons) if reason]


def _checked_for(evidence: Evidence) -> str:
    """Say for what the comparisons hold."""
    return in_one(check.reading for check in evidence.checked)


def _verdict(
    evidence: Evidence,
    word: str,
    holds_for: str,
    *,
    derivation: Derivation | None = None,
    remark: str = "",
    scale: Fraction | str | None = None,
    witness: Counterexample | None = None,
) -> Verdict:
    """Return a verdict; whatever is not an identity shows the bias that remains."""
    chain = evidence.derivation if derivation is None else derivation
    held = word in HOLDING
    return Verdict(
        evidence.estimator,
        word,
        holds_for,
        evidence.checked,
        chain,
        _conditions(evidence.conditions, chain) if held else (),
        None if held or evidence.finding is None or evidence.derivation is not None else evidence.finding.bias,
        "" if held else next((found.difference for found in evidence.comparisons.values() if not found.zero), ""),
        scale,
        remark,
        witness,
        tuple(evidence.tried),
    )


def _conditions(conditions: Conditions, chain: Derivation | None) -> tuple[Premise, ...]:
    """Return what is needed besides what a derivation assumes: what cancels in it must have a value all the same."""
    return conditions.needed if chain is None else conditions.beside(chain.theorem.assumptions)


def _undecided(evidence: Evidence) -> Verdict:
    return _verdict(evidence, "undecided", "nothing")


# Where mean and target differ


RESOLVED = Fraction(1, 10**9)
"""Instances are evaluated in float64: a smaller part of a value may be its rounding."""

_ALMOST_EVERY = "every case in which the bias, a polynomial in free unknowns that is not zero, does not vanish"


def _differing(evidence: Evidence) -> Verdict:
    conclusive = any(not found.zero and found.conclusive for found in evidence.comparisons.values())
    if conclusive:
        _refuse_derivation(evidence)
    verdict = _biased(evidence)
    if evidence.opinion.verdict == "agree" and evidence.derivation is not None and verdict.witness is None and not conclusive:
        return _held(replace(evidence, comparisons={k: found for k, found in evidence.comparisons.items() if found.zero}))
    if evidence.opinion.verdict == "agree" and not _too_small_for_instances(verdict.witness):
        evidence.tried.append(f"the exact evaluator finds a difference, but of random instances {evidence.opinion.reason}")
        return _undecided(evidence)
    if verdict.witness is not None:
        _refuse_derivation(evidence)
    return verdict


def _too_small_for_instances(witness: Counterexample | None) -> bool:
    """Whether an exact difference is below what the floating-point instances can tell from rounding."""
    if witness is None:
        return False
    size = max(Fraction(1), abs(witness.mean), abs(witness.target))
    return abs(witness.mean - witness.target) <= RESOLVED * size


def _refuse_derivation(evidence: Evidence) -> None:
    if evidence.derivation is not None:
        name = evidence.estimator.name
        message = f"the kernel derives {name!r}, the exact evaluator refutes it: please report this bug of gradproof."
        raise Disagreement(message)


def _biased(evidence: Evidence) -> Verdict:
    estimator, tried = evidence.estimator, evidence.tried
    smallest = min(k for k, comparison in evidence.comparisons.items() if not comparison.zero)
    found = exact.witness(estimator.expectation, estimator.target, estimator.parameter, smallest)
    if found is None:
        tried.append("no rational witness was found")
        if not evidence.comparisons[smallest].conclusive:
            return _undecided(evidence)
    witness = None if found is None else Counterexample(found.case, found.left, found.right, found.radius)
    other = _other(evidence)
    if other is not None:
        tried.append("the mean was found to be the gradient of something else")
        scope = "every law that meets the assumptions"
        return _verdict(evidence, "other-target", scope, derivation=other, witness=witness)
    scale = _scale(evidence)
    remark = "" if isinstance(scale, str) or scale is None else _IN_WORDS.get(scale, "")
    word = "refuted" if scale is None or remark else "scaled"
    scope = _biased_for(evidence, scale) if scale is not None or witness else _ALMOST_EVERY
    return _verdict(evidence, word, scope, remark=remark, scale=scale, witness=witness)


def _scale(evidence: Evidence) -> Fraction | str | None:
    """Return c if the exact evaluator finds the same E[g] = c T for every number of outcomes."""
    estimator, finding = evidence.estimator, evidence.finding
    scales = {comparison.scale for comparison in evidence.comparisons.values()}
    scale = scales.pop() if len(scales) == 1 else None
    if isinstance(scale, Fraction) and finding is not None and finding.scale not in (None, scale):
        message = f"the search finds E[g] = {finding.scale} T for {estimator.name!r}, the exact evaluator {scale} T: a bug."
        raise Disagreement(message)
    return scale


def _other(evidence: Evidence) -> Derivation | None:
    """Return the derivation of E[g] = T' for another gradient T', where the exact evaluator finds the same."""
    finding, estimator = evidence.finding, evidence.estimator
    if finding is None or finding.other is None:
        return None
    recheck(finding.other.theorem)
    opinion_of_chain(estimator, finding.other)
    named, mean = finding.other.lines[0].term, estimator.expectation
    for outcomes in evidence.comparisons:
        if not exact.identically_equal(mean, named, estimator.parameter, outcomes):
            message = f"the kernel derives another target of {estimator.name!r}, the exact evaluator refutes it: a bug."
            raise Disagreement(message)
    return finding.other


def _biased_for(evidence: Evidence, scale: Fraction | str | None) -> str:
    if scale is None:
        return "the witness, and every case in which the bias is not zero"
    if evidence.finding is not None and evidence.finding.scale is not None:
        return "every law that meets the assumptions"
    return _checked_for(evidence)
