"""What the audit says of one statement of a note, and which evidence a verdict needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from derive.language.errors import GradproofError

HOLDS = "holds"
UNDER = "holds under these assumptions"
WRONG = "wrong as written"
ILL = "ill-formed"
VERDICTS = (HOLDS, UNDER, WRONG, ILL)
CHECKERS = ("machine", "transcription", "machine and reading", "reading")
RELATIONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}
Kind: TypeAlias = Literal["proof", "counterexample", "outside", "malformed", "reading"]


class UnsupportedVerdict(GradproofError):
    """A check does not bear out the verdict of its statement: read the page's source, one of the two is wrong."""


@dataclass(frozen=True)
class Witness:
    """Two exact values between which a statement claims a relation.

    Args
        case      what they are the values of, in words, and the case
        left      the left value
        relation  "=", "!=", "<" or "<=", as the statement claims it of left and right
        right     the right value
        radius    how far the values may be off: 0, unless exp or log occur, which are enclosed
    """

    case: str
    left: Fraction
    relation: str
    right: Fraction
    radius: Fraction = Fraction(0)

    @property
    def satisfied(self) -> bool:
        """Whether the claimed relation is true here; an enclosure counts as a value."""
        return RELATIONS[self.relation](self.left, self.right)


@dataclass(frozen=True)
class Evidence:
    """What one check came to.

    Args
        kind         "proof": it holds; "counterexample": it does not; "outside": a case outside of the assumptions, where it
                     fails or is refused; "malformed": it cannot be written; "reading": no machine checked this
        text         what was checked, in words
        assumptions  what a proof rests on
        witness      the numbers of a counterexample, or of a case outside
        transcribed  whether the check saw only what a person copied from the note, such as its names or brackets
        block        the lines of a typed derivation, where the proof is one of the kernel
        unwritten    why such a proof is no block
    """

    kind: Kind
    text: str
    assumptions: tuple[str, ...] = ()
    witness: Witness | None = None
    transcribed: bool = False
    block: tuple[str, ...] = ()
    unwritten: str = ""


Check: TypeAlias = Callable[[], Evidence]


@dataclass(frozen=True)
class Statement:
    """A statement of a note and what became of it.

    Args
        note       the key of the note, "001"
        place      the number of the equation, or where it stands
        stated     the statement, in our notation and our words
        verdict    one of `VERDICTS`
        checks     what decides the verdict: it must follow from the evidence
        corrected  the statement as it should be, where that is something else
        correct    checks of the corrected statement: each must be a proof
        remark     what else a reader should know
        number     the number of the equation, "" where it has none
    """

    note: str
    place: str
    stated: str
    verdict: str
    checks: tuple[Check, ...]
    corrected: str = ""
    correct: tuple[Check, ...] = ()
    remark: str = ""
    number: str = ""


@dataclass(frozen=True)
class Judged:
    """A statement with the evidence for its verdict and for its corrected form."""

    statement: Statement
    evidence: tuple[Evidence, ...]
    correction: tuple[Evidence, ...]

    @property
    def checked_by(self) -> str:
        """Who decided: one of `CHECKERS`."""
        kinds = {evidence.kind for evidence in self.evidence}
        if kinds == {"reading"}:
            return "reading"
        if "malformed" in kinds and all(one.transcribed for one in self.evidence if one.kind == "malformed"):
            return "transcription"
        return "machine and reading" if "reading" in kinds else "machine"


def verdict_of(evidence: tuple[Evidence, ...]) -> str | None:
    """Return the verdict that follows from evidence, None where there is nothing but reading.

    >>> verdict_of((Evidence("proof", "by the kernel"), Evidence("outside", "a case without the premise")))
    'holds under these assumptions'
    """
    kinds = {one.kind for one in evidence}
    if "malformed" in kinds:
        return ILL
    if "counterexample" in kinds:
        return WRONG
    if "proof" not in kinds:
        return None
    conditional = "outside" in kinds or any(one.assumptions for one in evidence)
    return UNDER if conditional else HOLDS


def judge(statement: Statement) -> Judged:
    """Run the checks of a statement.

    Raises
        UnsupportedVerdict, if the verdict does not follow from the evidence, or the corrected form is not proved.
    """
    where = f"note {statement.note}, {statement.place}"
    if statement.verdict not in VERDICTS or not statement.checks:
        message = f"{where}: the verdict {statement.verdict!r} is unknown, or there is no check."
        raise UnsupportedVerdict(message)
    evidence = tuple(_run(check, where) for check in statement.checks)
    correction = tuple(_run(check, where) for check in statement.correct)
    found = verdict_of(evidence)
    if found not in (None, statement.verdict) or (found is None and any(one.kind != "reading" for one in evidence)):
        message = f"{where}: the verdict is {statement.verdict!r}, but its checks come to {found or 'nothing'!r}."
        raise UnsupportedVerdict(message)
    if any(one.kind not in ("proof", "outside", "reading") for one in correction):
        message = f"{where}: the corrected form is not proved."
        raise UnsupportedVerdict(message)
    return Judged(statement, evidence, correction)


def _run(check: Check, where: str) -> Evidence:
    try:
        return check()
    except UnsupportedVerdict as error:
        message = f"{where}: {error}"
        raise UnsupportedVerdict(message) from error
    except GradproofError as error:
        message = f"{where}: the check stopped: {type(error).__name__}: {error}"
        raise UnsupportedVerdict(message) from error


@dataclass(frozen=True)
class Pen:
    """Writes the statements of one note.

    >>> Pen("001").claim("first slide", "a claim", HOLDS).place
    'first slide'
    """

    note: str

    def equation(
        self,
        number: str,
        stated: str,
        verdict: str,
        *checks: Check,
        corrected: str = "",
        correct: tuple[Check, ...] = (),
        remark: str = "",
    ) -> Statement:
        """A numbered equation, given as LaTeX."""
        return Statement(self.note, f"({number})", f"${stated}$", verdict, checks, corrected, correct, remark, number)

    def claim(
        self,
        place: str,
        stated: str,
        verdict: str,
        *checks: Check,
        corrected: str = "",
        correct: tuple[Check, ...] = (),
        remark: str = "",
    ) -> Statement:
        """A displayed equation without a number, or a claim in words, given as Markdown."""
        return Statement(self.note, place, stated, verdict, checks, corrected, correct, remark)
