"""Ask every judge about every statement, and write docs/corpus.md: `python -m tests.corpus.page`, or `make corpus`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from derive.printing import text
from tests.corpus.judges import CHAPTERS, JUDGES, STATEMENTS, Word, ask

ANSWERS = Path(__file__).parent / "answers.json"
PAGE = Path(__file__).parents[2] / "docs" / "corpus.md"

Answers = Mapping[str, Mapping[str, Word]]

HEAD = """# The corpus: true and false statements, and who is right about them

Written by `make corpus`; `tests/test_corpus.py` asks again.

{count} statements in `tests/corpus/`, {true} true and {false} false, each one line with its reason; most come with twins that differ by
one mistake. A statement is `left = right` for every law, function and value that its names may stand for; `d` is the derivative by
theta, a density's support does not move, finite laws are positive at the same outcomes, and what divides is not zero.

Every judge is asked about all of them. *Right* is a verdict that is the label; *silent*, none; *wrong*, the other one. The kernel's
search says true, by a theorem that is replayed, and never says false. The exact evaluator compares on 2 and 3 outcomes, functions of
continuous variables as polynomials of degree 9, and is silent where more outcomes are drawn together than were compared. The
instances are random laws and functions. The verdict is that of `gradproof prove`, the crosscheck that of the generated torch code;
these two are asked where one side is a gradient.
"""


def name_of(judge: str, index: int) -> tuple[str, Word]:
    """Return a statement's name and the word for what the judge says of it."""
    return STATEMENTS[index].name, ask(judge, STATEMENTS[index])[0]


def ask_all() -> dict[str, dict[str, Word]]:
    """Ask every judge about every statement."""
    with ProcessPoolExecutor() as pool:
        numbers = range(len(STATEMENTS))
        return {judge: dict(pool.map(name_of, [judge] * len(numbers), numbers, chunksize=8)) for judge in JUDGES}


def table(answers: Answers) -> str:
    """The table of judge by right, silent and wrong, for true and for false statements."""
    heads = [f"{label}: {word}" for label in ("true", "false") for word in ("right", "silent", "wrong")]
    rows = [["judge", "asked", *heads]]
    for judge, words in answers.items():
        counts = Counter((statement.label, words[statement.name]) for statement in STATEMENTS)
        asked = sum(count for (_, word), count in counts.items() if word != "not asked")
        cells = [counts[label, word] for label in (True, False) for word in ("right", "silent", "wrong")]
        rows.append([judge, *map(str, (asked, *cells))])
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def listed(answers: Answers, judge: str) -> str:
    """The statements of which a judge says nothing, or what is wrong; the kernel's search is silent of every false one."""
    found = {
        statement.name: answers[judge][statement.name]
        for statement in STATEMENTS
        if answers[judge][statement.name] in ("silent", "wrong") and (judge != "kernel" or statement.label)
    }
    wrong = [name for name, word in found.items() if word == "wrong"]
    silent = [name for name, word in found.items() if word == "silent"]
    lines = [f"**Wrong**: {'; '.join(wrong)}."] if wrong else []
    return "\n\n".join([*lines, f"{len(silent)} silent: {'; '.join(silent)}." if silent else "None."])


def statements() -> str:
    """Every statement, chapter by chapter."""
    lines = []
    for chapter in CHAPTERS:
        lines += [f"### {chapter.title}", "", "```text"]
        for one in chapter.statements:
            label = "true " if one.label else "FALSE"
            lines.append(f"{label} {one.name}: {text.render(one.left)} = {text.render(one.right)}  ({one.reason})")
        lines += ["```", ""]
    return "\n".join(lines)


def render(answers: Answers) -> str:
    """The page."""
    true = sum(statement.label for statement in STATEMENTS)
    head = HEAD.format(count=len(STATEMENTS), true=true, false=len(STATEMENTS) - true)
    silent = [f"### {judge}\n\n{listed(answers, judge)}" for judge in answers]
    parts = [head, table(answers), "## Where a judge is silent", *silent, "## The statements", statements()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> None:
    """Write the answers and the page, and fail if a judge is wrong."""
    answers = ask_all()
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(render(answers), encoding="utf-8")
    wrong = [f"{judge}: {name}" for judge, words in answers.items() for name, word in words.items() if word == "wrong"]
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
