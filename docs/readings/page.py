"""Put every estimator of the catalogue through the four readings, and write docs/readings/README.md: `make readings`."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import derive
import numeric
from derive.catalogue import catalogue
from derive.language.errors import GradproofError
from derive.language.estimator import HOLDING, Estimator
from docs.readings.rows import ROWS, Row
from docs.templates import filled
from numeric.codegen.torchgen import generate, usual_families

HERE = Path(__file__).parent
ANSWERS, PAGE = HERE / "answers.json", HERE / "README.md"

Answer = dict[str, Any]
"""What the readings say of one estimator: see `read`; a refusal is a text that starts with "refused: "."""


def read(name: str) -> Answer:
    """Return the verdict, the lines of the derivation, the variance at the default point, and the lines of torch code."""
    estimator = catalogue[name]
    found = derive.prove(estimator)
    steps = 0 if found.derivation is None else len(found.derivation.lines) - 1
    code = {family: _code(estimator, family) for family in usual_families(estimator)}
    return {"verdict": found.verdict, "steps": steps, "variance": _variance(estimator), "code": code}


def crosschecked(name: str) -> dict[str, str]:
    """Return what the crosscheck says of the code of an estimator, by family."""
    return {family: _crosscheck(catalogue[name], family) for family in usual_families(catalogue[name])}


def _variance(estimator: Estimator) -> str:
    try:
        report = derive.variance(estimator)
    except GradproofError as error:
        return f"refused: {error}"
    if report.variance is None:
        return "formula"
    return "certified" if report.radius else "exact"


def _code(estimator: Estimator, family: str) -> int | str:
    try:
        return len(generate(estimator, family).source.splitlines())
    except GradproofError as error:
        return f"refused: {error}"


def _crosscheck(estimator: Estimator, family: str) -> str:
    try:
        report = numeric.crosscheck(estimator, family)
    except GradproofError as error:
        return f"refused: {error}"
    return "vacuous" if report.vacuous else "agrees" if report.agrees else "disagrees"


def _both(name: str) -> Answer:
    return read(name) | {"crosscheck": crosschecked(name)}


def is_right(name: str, answer: Answer) -> bool:
    """Whether every reading says what the entry declares, and none refuses."""
    wanted = "agrees" if catalogue[name].verdict in HOLDING else "disagrees"
    refusals = [answer["variance"], *answer["code"].values()]
    read_all = not any(isinstance(one, str) and one.startswith("refused") for one in refusals)
    return answer["verdict"] == catalogue[name].verdict and read_all and set(answer["crosscheck"].values()) == {wanted}


def render(answers: dict[str, Answer]) -> str:
    """Return the page."""
    right = [name for name, answer in answers.items() if is_right(name, answer)]
    rows = [_line(row, answers) for row in ROWS]
    facts = {"answers": answers, "catalogue": catalogue, "right": right, "rows": rows}
    return filled(HERE / "README.md.jinja", facts).rstrip() + "\n"


def _line(row: Row, answers: dict[str, Answer]) -> dict[str, str]:
    """Return what the readings say of a published estimator: of all entries of its row, "" where there is none."""
    own = [answers[name] for name in row.entries]
    right = bool(own) and all(is_right(name, answers[name]) for name in row.entries)
    derived = [str(answer["steps"]) for answer in own if answer["steps"]]
    return {
        "title": row.title,
        "entries": ", ".join(f"`{name}`" for name in row.entries) or row.missing,
        "verdict": ", ".join(dict.fromkeys(str(answer["verdict"]) for answer in own)),
        "derivation": ", ".join(derived),
        "code": "as declared" if right else "",
    }


def main() -> None:
    """Ask all readings, and write their answers and the page."""
    with ProcessPoolExecutor() as pool:
        answers = dict(zip(catalogue, pool.map(_both, catalogue), strict=True))
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
