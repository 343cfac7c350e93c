"""The judges of the corpus: each says true or false of a statement, or is silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import derive
from derive.exact import comparison as exact
from derive.instances import compare
from derive.kernel.premises import EVERYTHING
from derive.kernel.recheck import recheck
from derive.language.errors import GradproofError, NotEvaluable, RuleError, TooLarge
from derive.language.term import Expect, FiniteLaw, Over, Term, parts
from derive.proofs.conversions import equal_by_normal_form
from derive.proofs.tactic import find
from tests.corpus.notation import Chapter, Statement, theta

CHAPTERS: tuple[Chapter, ...] = tuple(
    import_module(f"tests.corpus.{name}").CHAPTER for name in ("scores", "laws", "continuous", "relaxations", "stops")
)
STATEMENTS = tuple(statement for chapter in CHAPTERS for statement in chapter.statements)
DEGREE, SAMPLES = 9, 2000

Word = Literal["right", "silent", "wrong", "not asked"]


@dataclass(frozen=True)
class Answer:
    """What a judge says: True, False, or None where it is silent; and in its own words."""

    says: bool | None
    words: str


def kernel(statement: Statement) -> Answer:
    """A theorem that was replayed says true; the search never says false."""
    estimator = statement.estimator
    try:
        if estimator is not None:
            derivation = find(estimator).derivation
            theorem = None if derivation is None else derivation.theorem
        else:
            theorem = equal_by_normal_form(statement.left, statement.right, EVERYTHING)
    except RuleError as error:
        return Answer(None, str(error))
    if theorem is None:
        return Answer(None, "the search left a remainder")
    recheck(theorem)
    return Answer(True, "a theorem")


def evaluator(statement: Statement) -> Answer:
    """A conclusive difference says false; an identity on as many outcomes as are drawn together, 3 at most, says true."""
    sizes = (2, 3)
    try:
        for outcomes in sizes:
            found = exact.compare(statement.left, statement.right, theta, outcomes, degree=DEGREE)
            if not found.zero:
                return Answer(False if found.conclusive else None, "a difference that is not conclusive")
    except (NotEvaluable, TooLarge) as error:
        return Answer(None, str(error))
    drawn = max(_drawn(statement.left), _drawn(statement.right))
    return Answer(True, found.reading) if drawn <= max(sizes) else Answer(None, f"{drawn} draws, on {max(sizes)} outcomes")


def _drawn(term: Term) -> int:
    """How many outcomes of finite laws are bound around one place."""
    binds = isinstance(term, (Expect, Over)) and isinstance(term.variable.law, FiniteLaw)
    return binds + max((_drawn(part) for part in parts(term)), default=0)


def instances(statement: Statement) -> Answer:
    """A difference on random laws and functions says false, agreement on several says true."""
    opinion = compare(statement.left, statement.right, assumptions=statement.given)
    return Answer({"agree": True, "differ": False}.get(opinion.verdict), opinion.reason)


def verdict(statement: Statement) -> Answer | None:
    """What `gradproof prove` says: `proved` says true; `scaled`, `other-target`, `refuted` say false."""
    if statement.estimator is None:
        return None
    found = derive.prove(statement.estimator)
    says = {"proved": True, "scaled": False, "other-target": False, "refuted": False}.get(found.verdict)
    return Answer(says, found.verdict)


def crosscheck(statement: Statement) -> Answer | None:
    """The generated torch code, over every outcome and by sampling, agrees with the exact gradient or not; as `evaluator`."""
    from numeric.checking.crosscheck import crosscheck as run

    if statement.estimator is None:
        return None
    try:
        report = run(statement.estimator, samples=SAMPLES)
    except GradproofError as error:
        return Answer(None, str(error))
    outcomes = 2**report.size if report.family == "bernoulli" else report.size
    few = report.family != "normal" and max(_drawn(statement.left), _drawn(statement.right)) > outcomes
    return Answer(None if report.vacuous or (report.agrees and few) else report.agrees, str(report))


JUDGES: dict[str, Callable[[Statement], Answer | None]] = {
    "kernel": kernel,
    "evaluator": evaluator,
    "instances": instances,
    "verdict": verdict,
    "crosscheck": crosscheck,
}


def ask(judge: str, statement: Statement) -> tuple[Word, str]:
    """Ask one judge: whether it is right, and its own words; what ends in an error that is none of the user's is wrong."""
    try:
        answer = JUDGES[judge](statement)
    except TooLarge as error:
        return "silent", str(error)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    if answer is None:
        return "not asked", "no gradient on either side"
    if answer.says is None:
        return "silent", answer.words
    return "right" if answer.says == statement.label else "wrong", answer.words
