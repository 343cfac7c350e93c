"""One page a rule: those of the kernel, which are trusted, and those that are derived from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import getdoc, getmembers, isfunction
from pathlib import Path
from typing import Any

from derive.kernel.theorem import RULES
from derive.proofs import rules as derived
from docs.templates import filled

TEMPLATES = Path(__file__).parent / "templates"
SYNONYMS = {
    "expectation": "definition",
    "score": "definition",
    "product_rule": "differentiate",
    "chain_rule": "chain",
    "reflection": "reflect",
    "value_of_stop": "stopped_value",
    "reparameterization": "reparameterize",
    "conditional_reparameterization": "conditional_reparameterize",
}
"""The rule of the kernel that a rewrite applies, where its name is another."""

DERIVED: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in getmembers(derived, isfunction)
    if function.__module__ == derived.__name__ and "\nConclusion\n" in (getdoc(function) or "") and name not in RULES
}
"""The functions that derive a theorem."""


def page_of_rule(name: str) -> str | None:
    """Return the name of the page of a rule that a derivation names, None where there is none.

    >>> page_of_rule("expectation"), page_of_rule("pathwise"), page_of_rule("no_rule")
    ('definition', 'pathwise', None)
    """
    page = SYNONYMS.get(name, name)
    return page if page in RULES or page in DERIVED else None


def write(source: Path, used: Mapping[str, Iterable[str]]) -> None:
    """Write the pages of the rules, and the page that lists them.

    Args
        used   the rules that the derivation of each estimator names, by the name of the estimator
    """
    folder = source / "rules"
    folder.mkdir(parents=True, exist_ok=True)
    for name, function in (RULES | DERIVED).items():
        users = [estimator for estimator, rules in used.items() if name in map(page_of_rule, rules)]
        facts = {"name": name, "module": function.__module__, "users": users, "trusted": name in RULES}
        (folder / f"{name}.rst").write_text(filled(TEMPLATES / "rule.rst.jinja", facts), encoding="utf-8")
    sentences = {name: (getdoc(function) or "").splitlines()[0] for name, function in (RULES | DERIVED).items()}
    index = filled(TEMPLATES / "rules.md.jinja", {"rules": RULES, "derived": DERIVED, "sentences": sentences})
    (folder / "index.md").write_text(index, encoding="utf-8")
