"""One page a law: what it stands for, how it is written, what each reading knows about it, and one estimator asked now."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path

import derive
import numeric
from derive.catalogue import catalogue
from derive.language.errors import GradproofError
from derive.language.estimator import Estimator
from derive.language.term import DensityLaw, FiniteLaw, Law, NamedLaw, NormalLaw, RandomVariable, UniformLaw, subterms
from derive.notation import E, continuous, exp, finite, function, grad, normal, parameter, poisson, score, uniform
from docs.site.docstrings import restructured
from docs.templates import filled

TEMPLATES = Path(__file__).parent / "templates"
LAWS: dict[str, type[Law]] = {
    "finite": FiniteLaw, "normal": NormalLaw, "uniform": UniformLaw, "named": NamedLaw, "density": DensityLaw,
}  # fmt: skip
TITLES = {
    "finite": "Finite law", "normal": "Normal law", "uniform": "Uniform law", "named": "Law with a name",
    "density": "Abstract density",
}  # fmt: skip
_THETA, _F = parameter("theta"), function("f", differentiable=True)
_DRAWN = {
    "finite": finite("b", _THETA),
    "normal": normal("z", _THETA, 1),
    "uniform": uniform("u"),
    "named": poisson("n", rate=exp(_THETA)),
    "density": continuous("x", _THETA),
}


def example(name: str) -> Estimator:
    """Return the score function estimator under a law, or where the law cannot move the gradient through its noise.

    >>> example("uniform").name, example("normal").name
    ('pathwise', 'score-function')
    """
    drawn = _DRAWN[name]
    if name == "uniform":
        moved = _F(_THETA + drawn)
        return Estimator("pathwise", grad(moved, _THETA), (drawn,), grad(E(moved, drawn), _THETA))
    return Estimator("score-function", _F(drawn) * score(drawn, _THETA), (drawn,), grad(E(_F(drawn), drawn), _THETA))


def asked(estimator: Estimator) -> list[tuple[str, str]]:
    """Return what the readings answer of an estimator: the verdict, the exact values, the code.

    >>> asked(example("density"))[0]
    ('verdict', 'proved for every law that meets the assumptions')
    """
    verdict = derive.prove(estimator)
    rules = [] if verdict.derivation is None else [line.reason for line in verdict.derivation.lines[1:]]
    try:
        crosscheck = "agrees" if numeric.crosscheck(estimator).agrees else "disagrees"
    except GradproofError as error:
        crosscheck = f"none: {error}"
    return [
        ("verdict", f"{verdict.verdict} for {verdict.holds_for}"),
        ("derived by", ", ".join(rules) or "nothing"),
        ("exact values", "; ".join(check.reading for check in verdict.checked) or verdict.tried[0]),
        ("crosscheck of the torch code", crosscheck),
    ]


def drawn_by(law: type[Law], names: Sequence[str]) -> list[str]:
    """Return the estimators in which a variable of such a law is drawn or averaged over."""
    return [name for name in names if any(isinstance(term.law, law) for term in _variables(catalogue[name]))]


def _variables(estimator: Estimator) -> list[RandomVariable]:
    found = [term for whole in (estimator.formula, estimator.target) for term in subterms(whole)]
    return [*estimator.draws, *(term for term in found if isinstance(term, RandomVariable))]


def write(source: Path, names: Sequence[str]) -> None:
    """Write the pages of the laws, and the page that lists them."""
    folder = source / "laws"
    folder.mkdir(parents=True, exist_ok=True)
    first = {}
    for name, law in LAWS.items():
        lines = (getdoc(law) or "").splitlines()
        first[name] = lines[0]
        facts = {"title": TITLES[name], "lines": restructured(lines), "estimator": str(example(name)).splitlines()[1:]}
        facts |= {"asked": asked(example(name)), "users": drawn_by(law, names)}
        (folder / f"{name}.rst").write_text(filled(TEMPLATES / "law.rst.jinja", facts), encoding="utf-8")
    index = filled(TEMPLATES / "laws.md.jinja", {"titles": TITLES, "sentences": first})
    (folder / "index.md").write_text(index, encoding="utf-8")
