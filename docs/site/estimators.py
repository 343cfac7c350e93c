"""One page an estimator: formula, derivation, verdict, what the other readings say, torch code, source."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import derive
import numeric
from derive.catalogue import catalogue
from derive.language.errors import GradproofError
from derive.printing import html
from docs.site.gather import REPOSITORY, ROOT
from docs.site.rules import page_of_rule
from docs.templates import filled
from numeric.codegen.torchgen import usual_families
from numeric.report.figures import variance_beside
from numeric.report.plots import available, draw

TEMPLATES = Path(__file__).parent / "templates"
ANSWERS = ROOT / "docs" / "readings" / "answers.json"
_STEP = re.compile(r'<div class="rule">= by ([a-z ]+?)(, in value only)?</div>')


@dataclass(frozen=True)
class Page:
    """What is known of an estimator when its page is written.

    Args
        code           the source of each family, or why there is none
        plot, caption  its variance as SVG and what it shows, both empty where it is of another problem than the plot
    """

    name: str
    verdict: str
    body: str
    rules: tuple[str, ...]
    code: dict[str, tuple[str, str]]
    plot: str = ""
    caption: str = ""


def known(name: str) -> Page:
    """Prove an estimator and generate its code.

    >>> known("score-function").rules
    ('expectation', 'leibniz', 'log_derivative', 'expectation')
    """
    estimator = catalogue[name]
    verdict = derive.prove(estimator)
    rules = () if verdict.derivation is None else tuple(line.rule for line in verdict.derivation.lines[1:])
    body = linked_steps(html.body(estimator, verdict.derivation, verdict.conclusion), "../rules/")
    code = {family: _code(name, family) for family in usual_families(estimator)}
    figure = variance_beside(estimator) if available() else None
    plot, caption = ("", "") if figure is None else (draw(figure), figure.caption)
    return Page(name, verdict.verdict, body, rules, code, plot, caption)


def linked_steps(body: str, folder: str) -> str:
    """Return the HTML of a derivation with the name of each rule as a link to its page."""

    def link(step: re.Match[str]) -> str:
        page = page_of_rule(step[1].replace(" ", "_"))
        rule = step[1] if page is None else f'<a href="{folder}{page}.html">{step[1]}</a>'
        return f'<div class="rule">= by {rule}{step[2] or ""}</div>'

    return _STEP.sub(link, body)


def _code(name: str, family: str) -> tuple[str, str]:
    try:
        return numeric.emit(catalogue[name], family), ""
    except GradproofError as error:
        return "", str(error)


def all_known(names: Sequence[str]) -> list[Page]:
    """Return what is known of each estimator, found by as many processes as there are processors."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(known, names))


def written_in(name: str) -> Path | None:
    """Return the file in which the derivation of an estimator is written by hand, None where it is searched for.

    >>> written_in("rebar").as_posix(), written_in("leave-one-out")
    ('derive/catalogue/rebar.py', None)
    """
    derivation = catalogue[name].derivation
    if derivation is None:
        return None
    function = derivation.func if isinstance(derivation, partial) else derivation
    return Path(inspect.getfile(function)).relative_to(ROOT)


def render(page: Page, answer: dict[str, Any]) -> str:
    """Return the page of an estimator."""
    estimator = catalogue[page.name]
    keys = re.findall(r"[a-z]+-\d{4}|glasserman", estimator.source)
    facts = {
        "page": page,
        "estimator": estimator,
        "answer": answer,
        "written": written_in(page.name),
        "repository": REPOSITORY,
        "keys": keys,
    }
    return filled(TEMPLATES / "estimator.md.jinja", facts)


def write(source: Path, names: Sequence[str] = tuple(catalogue)) -> list[Page]:
    """Write the pages of the estimators, and the page that lists them; return what is on them."""
    folder = source / "estimators"
    folder.mkdir(parents=True, exist_ok=True)
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    pages = all_known(names)
    for page in pages:
        (folder / f"{page.name}.md").write_text(render(page, answers[page.name]), encoding="utf-8")
        if page.plot:
            (folder / f"{page.name}.svg").write_text(page.plot, encoding="utf-8")
    index = filled(TEMPLATES / "estimators.md.jinja", {"pages": pages, "catalogue": catalogue})
    (folder / "index.md").write_text(index, encoding="utf-8")
    return pages
