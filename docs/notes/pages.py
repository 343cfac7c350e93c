"""Run the audit and write its pages: one a note, and an index with the counts.

A check that does not bear out its verdict stops everything, and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path

from derive.printing.markdown import escape
from docs.notes.statement import (
    CHECKERS,
    ILL,
    VERDICTS,
    WRONG,
    Evidence,
    Judged,
    Statement,
    UnsupportedVerdict,
    Witness,
    judge,
)

NOTES = ("000", "001", "002", "003", "004")
_RELATION = {"=": "=", "!=": "≠", "<": "<", "<=": "≤"}
_WROTE = "*This page is written by `make notes`, which runs every check below.*"


@dataclass(frozen=True)
class Note:
    """A note: its key, what it is, its statements, and what in it is no mathematics."""

    key: str
    title: str
    statements: tuple[Statement, ...]
    not_judged: tuple[str, ...]


def load(key: str) -> Note:
    """Return a note by its key.

    >>> load("002").statements[2].number
    '1.1'
    """
    module = import_module(f"docs.notes.note_{key}")
    return Note(key, module.TITLE, tuple(module.STATEMENTS), tuple(module.NOT_JUDGED))


def run(output: Path, notes: Iterable[Note] | None = None) -> dict[str, int]:
    """Judge every statement, write the pages into a folder, and return the counts by verdict.

    Args
        output  the folder, which is made if it is not there
        notes   the notes; all five by default
    Raises
        UnsupportedVerdict, naming every statement whose checks do not bear out its verdict; then nothing is written.
    """
    audited = [(note, judge_all(note.statements)) for note in (map(load, NOTES) if notes is None else notes)]
    output.mkdir(parents=True, exist_ok=True)
    for note, judged in audited:
        (output / f"note_{note.key}.md").write_text(page(note, judged), encoding="utf-8")
    (output / "index.md").write_text(index(audited), encoding="utf-8")
    return dict(Counter(one.statement.verdict for _, judged in audited for one in judged))


def judge_all(statements: Iterable[Statement]) -> list[Judged]:
    """Judge statements.

    Raises
        UnsupportedVerdict, naming all that fail.
    """
    judged, failures = [], []
    for statement in statements:
        try:
            judged.append(judge(statement))
        except UnsupportedVerdict as error:
            failures.append(str(error))
    if failures:
        raise UnsupportedVerdict("; ".join(failures))
    return judged


# One note


def page(note: Note, judged: Sequence[Judged]) -> str:
    """Return the page of one note."""
    parts = [
        f"# Note {note.key}: {note.title}",
        f"{_WROTE} [All notes](index.md)",
        _table(("verdict", "statements"), [(verdict, str(n)) for verdict, n in _by_verdict(judged)]),
        *(_record(one) for one in judged),
        "## Not judged",
        _bullets(note.not_judged),
        "## Counts",
        _counts(judged),
    ]
    return "\n\n".join(parts) + "\n"


def _record(judged: Judged) -> str:
    statement = judged.statement
    found = [*map(_evidence, judged.evidence), *_list("Assumes", _assumptions(judged.evidence))]
    correct = [*map(_evidence, judged.correction), *_list("It assumes", _assumptions(judged.correction))]
    rows = [
        f"### {escape(statement.place)}: {statement.verdict}",
        statement.stated,
        _bullets(found),
        f"**Corrected:** {statement.corrected}" if statement.corrected else "",
        _bullets(correct),
        f"*{statement.remark}*" if statement.remark else "",
    ]
    return "\n\n".join(row for row in rows if row)


def _evidence(evidence: Evidence) -> str:
    label = {"proof": "Proof", "counterexample": "Counterexample", "outside": "Outside", "malformed": "Ill-formed"}
    said = _prose(evidence.text)
    head = said if evidence.kind == "reading" else f"{label[evidence.kind]}: {said}"
    if evidence.block:
        return f"{head}\n\n{_fenced(evidence.block)}\n"
    if evidence.unwritten:
        return f"{head}. No block: {_prose(evidence.unwritten)}"
    return head if evidence.witness is None else f"{head}. {_witness(evidence.witness)}"


def _fenced(lines: Iterable[str]) -> str:
    """Return a typed derivation as it stands in an item of a list."""
    return "\n".join(f"  {line}".rstrip() for line in ("```derivation", *lines, "```"))


def _witness(witness: Witness) -> str:
    near = f", each up to {float(witness.radius):.1g}" if witness.radius else ""
    left, right = (_number(value, witness) for value in (witness.left, witness.right))
    claimed = f"{left} {_RELATION[witness.relation]} {right}"
    return f"Witness: {_prose(witness.case)}: claimed {claimed}, which is false{near}"


def _number(value: Fraction, witness: Witness) -> str:
    """Return a value in full where it is exact, else as a decimal: its digits are beyond the radius."""
    return f"{float(value):.6g}" if witness.radius else str(value)


def _assumptions(evidence: Iterable[Evidence]) -> list[str]:
    return sorted({assumption for one in evidence for assumption in one.assumptions})


def _list(label: str, items: Sequence[str]) -> list[str]:
    return [f"{label}:\n" + "\n".join(f"  - {_prose(item)}" for item in items)] if items else []


def _prose(text: str) -> str:
    """Escape what is not between backticks."""
    return "".join(f"`{part}`" if i % 2 else _keep_ends(part) for i, part in enumerate(text.split("`")))


def _keep_ends(text: str) -> str:
    before, after = " " * (text != text.lstrip()), " " * (text != text.rstrip())
    return before + escape(text) + after if text.strip() else text


# All notes


def index(audited: Sequence[tuple[Note, Sequence[Judged]]]) -> str:
    """Return the page with the counts, and the statements that are wrong, ill-formed, or checked by reading."""
    everything = [one for _, judged in audited for one in judged]
    parts = [
        "# Audit of five public notes on gradient estimators",
        _WROTE,
        "Each numbered equation, each displayed equation and each claim in words is a record: the statement in our notation, a "
        "verdict, the corrected form, and the checks from which the verdict follows. A page is written only if they all do. "
        "*Outside* is a case where an assumption fails, and with it the statement. An identity on 2 and 3 outcomes holds for "
        "every law on so many outcomes and every integrand; a chain of the kernel holds for every law that meets its "
        "assumptions. *By transcription* means that the check sees only the names, brackets or references that a "
        "person copied.",
        _overview(audited),
        "## Wrong as written",
        _bullets([_line(one, _first_witness) for one in everything if one.statement.verdict == WRONG]),
        "## Ill-formed",
        _bullets([_line(one, _first_problem) for one in everything if one.statement.verdict == ILL]),
        "## Checked by reading",
        "No machine checked these, or not all of it:",
        _bullets([_line(one, _reading) for one in everything if "reading" in one.checked_by]),
        "## Proofs that can be checked again",
        "A proof by the kernel is printed line by line, in a block that `gradproof check docs/notes/note_000.md` reads: it is "
        "checked anew from what is printed, with all that each step needs, and nothing else of this audit has a part in that. "
        "What `derive.prove` proves is printed by `gradproof explain NAME`.",
        _blocks(audited),
        "## Counts",
        _counts(everything),
    ]
    return "\n\n".join(parts) + "\n"


def _blocks(audited: Sequence[tuple[Note, Sequence[Judged]]]) -> str:
    """Return the table of blocks by note, and the proofs by the kernel that are none."""
    proofs = [(one, proof) for _, judged in audited for one in judged for proof in (*one.evidence, *one.correction)]
    blocks = Counter(one.statement.note for one, proof in proofs if proof.block)
    without = [(one, proof.unwritten) for one, proof in proofs if proof.unwritten]
    left = Counter(one.statement.note for one, _ in without)
    rows = [(f"[{note.key}](note_{note.key}.md)", str(blocks[note.key]), str(left[note.key])) for note, _ in audited]
    table = _table(("note", "blocks", "no block"), [*rows, ("all", str(blocks.total()), str(left.total()))])
    return "\n\n".join([table, "No block:", _bullets(_line(one, lambda _, why=why: _prose(why)) for one, why in without)])


def _overview(audited: Sequence[tuple[Note, Sequence[Judged]]]) -> str:
    rows = []
    for note, judged in audited:
        numbered = sum(bool(one.statement.number) for one in judged)
        counts = [str(n) for _, n in _by_verdict(judged)]
        rows.append((f"[{note.key}](note_{note.key}.md)", note.title, *counts, str(numbered), str(len(judged))))
    everything = [one for _, judged in audited for one in judged]
    sums = [str(n) for _, n in _by_verdict(everything)]
    numbered = sum(bool(one.statement.number) for one in everything)
    rows.append(("all", "", *sums, str(numbered), str(len(everything))))
    return _table(("note", "what it is", *VERDICTS, "numbered equations", "statements"), rows)


def _line(judged: Judged, of: Callable[[Judged], str]) -> str:
    statement = judged.statement
    return f"[{statement.note}](note_{statement.note}.md) {escape(statement.place)}: {statement.stated} {of(judged)}"


def _first_witness(judged: Judged) -> str:
    return next((_witness(one.witness) for one in judged.evidence if one.witness and one.kind == "counterexample"), "")


def _first_problem(judged: Judged) -> str:
    return next((_prose(one.text) for one in judged.evidence if one.kind == "malformed"), "")


def _reading(judged: Judged) -> str:
    return "; ".join(_prose(one.text) for one in judged.evidence if one.kind == "reading")


def _by_verdict(judged: Iterable[Judged]) -> list[tuple[str, int]]:
    counts = Counter(one.statement.verdict for one in judged)
    return [(verdict, counts[verdict]) for verdict in VERDICTS]


def _counts(judged: Sequence[Judged]) -> str:
    """Return the table of verdicts by who checked them."""
    counts = Counter((one.statement.verdict, one.checked_by) for one in judged)
    rows = [(verdict, *(str(counts[verdict, checker]) for checker in CHECKERS), str(n)) for verdict, n in _by_verdict(judged)]
    sums = [str(sum(counts[verdict, checker] for verdict in VERDICTS)) for checker in CHECKERS]
    return _table(("verdict", *(f"by {checker}" for checker in CHECKERS), "all"), [*rows, ("all", *sums, str(len(judged)))])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items).rstrip("\n")


if __name__ == "__main__":
    for verdict, count in run(Path(__file__).parent).items():
        print(f"{count:4}  {verdict}")
