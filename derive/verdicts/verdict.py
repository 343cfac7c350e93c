"""What is known of an estimator: the verdict, for what it holds, and what it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from derive.kernel.premises import Premise
from derive.kernel.theorem import Equation
from derive.language.estimator import HOLDING, Estimator
from derive.language.shown import Symbolic
from derive.language.term import Term
from derive.laws.occurrences import read_on
from derive.printing import latex, text
from derive.printing.conclusion import Conclusion
from derive.proofs.calc import Derivation

SCHEMA = "gradproof/verdict/1"
BY_HAND = "the derivation that was written by hand"
EXIT: dict[str, int] = {"proved": 0, "checked": 3, "scaled": 1, "other-target": 1, "refuted": 1, "vacuous": 3, "undecided": 3}

_NUMBER = re.compile(r"(?<=on )\d+(?= (?:outcomes|points))")


def in_one(readings: Iterable[str]) -> str:
    """Say for what several comparisons hold, once where they differ in the number of outcomes only.

    >>> in_one(["every law on 2 outcomes", "every law on 3 outcomes"])
    'every law on 2 and 3 outcomes'
    """
    found: dict[str, list[str]] = {}
    for reading in readings:
        numbers = _NUMBER.findall(reading)
        found.setdefault(_NUMBER.sub("{}", reading), []).append(numbers[0] if numbers else "")
    return " and ".join(shape.replace("{}", _enumerated(numbers)) for shape, numbers in found.items())


def _enumerated(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


@dataclass(frozen=True)
class Check:
    """One exact comparison of the mean with the target; `reading` says for what it holds."""

    outcomes: int
    samples: int
    identically_zero: bool
    reading: str


@dataclass(frozen=True)
class Counterexample:
    """A rational case in which mean and target differ, with both values.

    Where exp or log occur, the values are known up to `radius`, and the enclosures do not overlap.
    """

    case: dict[str, str]
    mean: Fraction
    target: Fraction
    radius: Fraction = Fraction(0)

    @property
    def in_words(self) -> str:
        """The case and both values, as text, and how far they may be off."""
        case = ", ".join(f"{name} = {value}" for name, value in self.case.items())
        off = f", both up to {self.radius}" if self.radius else ""
        return f"{case}: E[estimate] = {self.mean}, target = {self.target}{off}"


@dataclass(frozen=True, repr=False)
class Verdict(Symbolic):
    """The answer of `derive.prove`.

    Args
        estimator    the estimator that was judged
        verdict      a word of `derive.language.estimator.VERDICTS`; docs/verdicts.md says what each means
        holds_for    the cases for which the verdict holds, in words
        checked      the exact comparisons
        derivation   the chain from the target (of "other-target" the other one) to the mean, or None
        conditions   what the statement needs beside the assumptions of the derivation
        bias         E[g] - target as a term, where the kernel reduced it to one
        difference   E[g] - target on two outcomes, as the exact evaluator prints it
        scale        c, where E[g] = c times the target; text where it is a formula of constants
        remark       the verdict in other words, such as "the mean is zero"
        witness      a smallest rational case in which they differ
        tried        what was tried, and what came of it
    """

    estimator: Estimator
    verdict: str
    holds_for: str
    checked: tuple[Check, ...] = ()
    derivation: Derivation | None = None
    conditions: tuple[Premise, ...] = ()
    bias: Term | None = None
    difference: str = ""
    scale: Fraction | str | None = None
    remark: str = ""
    witness: Counterexample | None = None
    tried: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Verdict {self.estimator.name!r}: {self.verdict}>"

    @property
    def assumptions(self) -> tuple[Premise | Equation, ...]:
        """What the derivation assumes, in a fixed order."""
        return () if self.derivation is None else tuple(sorted(self.derivation.theorem.assumptions, key=repr))

    @property
    def found(self) -> bool:
        """Whether the derivation was found by the search, rather than written by hand."""
        return self.derivation is not None and self.estimator.derivation is None

    @property
    def exit_code(self) -> int:
        """The exit status of `gradproof prove`; `--accept checked` makes that of "checked" 0."""
        return EXIT[self.verdict]

    @property
    def other_target(self) -> Term | None:
        """Of what the mean is the gradient, where that is another than the target."""
        return self.derivation.lines[0].term if self.verdict == "other-target" and self.derivation is not None else None

    @property
    def checks_in_words(self) -> list[str]:
        """What the exact comparisons found, and on what: on so many outcomes, or under the laws as they were read."""
        said = []
        for zero, result in ((True, "is identically zero"), (False, "is not zero")):
            found = [check for check in self.checked if check.identically_zero == zero]
            numbers, reading = ", ".join(str(check.outcomes) for check in found), in_one(check.reading for check in found)
            said += [f"E[estimate] - target {result} {read_on(self._sides, numbers, reading)}"] if found else []
        return said

    @property
    def is_counted(self) -> bool:
        """Whether the number of outcomes, or of points, says something of the exact comparisons."""
        return any(not read_on(self._sides, "", check.reading).startswith("for ") for check in self.checked)

    @property
    def evaluated(self) -> str:
        """Where the exact evaluator read `difference`: a label."""
        here = read_on(self._sides, "2", next((check.reading for check in self.checked if not check.identically_zero), ""))
        return here.removesuffix(" of a base measure") if here.startswith("on ") else "evaluated"

    @property
    def _sides(self) -> tuple[Term, Term]:
        return self.estimator.expectation, self.estimator.target

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known of the mean where it is not the target: rows of label and text."""
        where, bias = self.estimator.where, self._bias_json() or {}
        rows = [] if self.scale is None else [("scale", f"E[estimate] = {self.scale} * target")]
        other = self.other_target
        rows += [] if other is None else [("other target", f"E[estimate] = {text.render(other, where)}")]
        rows += [(label, bias[key]) for label, key in (("bias", "text"), (self.evaluated, "on_two_outcomes")) if key in bias]
        return rows + ([] if self.witness is None else [("witness", self.witness.in_words)])

    @property
    def conclusion(self) -> Conclusion:
        """What a document ends with."""
        facts = [("holds for", self.holds_for), ("in words", self.remark), *self.facts]
        shown = [(label, fact) for label, fact in facts if fact and (label != "bias" or self.bias is None)]
        bias = None if self.verdict in HOLDING else self.bias
        return Conclusion(self.verdict, shown, self.conditions, bias, self.other_target)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict in the form of the contract, without its schema's envelope for many."""
        where = self.estimator.where
        lines = self.derivation.lines if self.derivation else ()
        return {
            "schema": SCHEMA,
            "estimator": self.estimator.name,
            "target": text.render(self.estimator.target, where),
            "verdict": self.verdict,
            "holds_for": self.holds_for,
            "remark": self.remark,
            "assumptions": [text.premise(premise, where) for premise in self.assumptions],
            "conditions": [text.premise(premise, where) for premise in self.conditions],
            "derivation": [{"rule": line.rule, "latex": latex.render(line.term, where)} for line in lines],
            "checked": [vars(check) for check in self.checked],
            "bias": self._bias_json(),
            "scale": None if self.scale is None else str(self.scale),
            "other_target": None if self.other_target is None else text.render(self.other_target, where),
            "witness": self._witness_json(),
            "tried": list(self.tried),
        }

    def _bias_json(self) -> dict[str, str] | None:
        if self.verdict in HOLDING or (self.bias is None and not self.difference):
            return None
        where = self.estimator.where
        shown = {} if self.bias is None else {"text": text.render(self.bias, where), "latex": latex.render(self.bias, where)}
        return shown | ({"on_two_outcomes": self.difference} if self.difference else {})

    def _witness_json(self) -> dict[str, Any] | None:
        if self.witness is None:
            return None
        values = {"mean": str(self.witness.mean), "target": str(self.witness.target)}
        certain = {"radius": str(self.witness.radius)} if self.witness.radius else {}
        return {"case": self.witness.case, **values, **certain}
