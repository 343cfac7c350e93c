"""The page of the mutation table, and the counts from which it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from docs.mutants.checks import ALPHA, CHECKS as OF_CODE, CROSSCHECK_SAMPLES, LONG, SAMPLES, SPREAD

Row = dict[str, Any]

CHECKS = ("derive", *OF_CODE)
STATUSES = ("killed", "equivalent", "no number", "survived", "disagreement")
MISSED_SHOWN = 60
MISSED = "Each is killed by another check, and neither proved nor sampled any further."


def summary(rows: Sequence[Row], missing: Sequence[str] = ()) -> dict[str, Any]:
    """What is kept of the rows: the counts, and each row that is not simply killed by all that could judge it."""
    return {
        "missing": list(missing),
        "counts": counts(rows),
        "checks": {reading: _by_check(part) for reading, part in _readings(rows).items()},
        "samples": _samples(_readings(rows)["code"]),
        "equivalent": [_short(row) for row in rows if row["status"] == "equivalent"],
        "missed": [_short(row) | {"missed": missed} for row in rows if (missed := _missed(row))],
        "wrong": [row for row in rows if row["status"] in ("survived", "disagreement")],
    }


def counts(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """By estimator, reading or family, and kind of mistake: how many were killed, and so on.

    >>> row = {"estimator": "rebar", "family": "formula", "kind": "flip a sign", "status": "killed"}
    >>> counts([row, row])
    {'rebar': {'formula': {'flip a sign': {'killed': 2}}}}
    """
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for row in rows:
        of_kind = found.setdefault(row["estimator"], {}).setdefault(row["family"], {}).setdefault(row["kind"], {})
        of_kind[row["status"]] = of_kind.get(row["status"], 0) + 1
    return found


def _readings(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {
        "formula": [row for row in rows if row["family"] == "formula"],
        "code": [row for row in rows if row["family"] != "formula"],
    }


def _by_check(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Of the mutants that are not equivalent, and have a mean: how many a check killed, let pass, and could not judge."""
    wrong = [row for row in rows if row["status"] not in ("equivalent", "no number")]
    return {name: dict(Counter(row["checks"][name] for row in wrong if name in row["checks"])) for name in CHECKS}


def _samples(rows: Sequence[Row]) -> dict[str, list[int]]:
    """By kind of mistake: mutants of code that the sequential test rejected, and the median and most samples that it took."""
    found: dict[str, list[int]] = {}
    for row in rows:
        if row["samples"]:
            found.setdefault(row["kind"], []).append(row["samples"])
    return {kind: [len(taken), int(median(taken)), max(taken)] for kind, taken in sorted(found.items())}


def _missed(row: Row) -> list[str]:
    return [name for name, said in row["checks"].items() if said == "passed"] if row["status"] == "killed" else []


def _short(row: Row) -> Row:
    kept = {key: row[key] for key in ("estimator", "family", "kind", "change", "proof")}
    return kept | {"seen": {name: row["how"].get(name, "") for name, said in row["checks"].items() if said == "killed"}}


# The page


def text(found: dict[str, Any]) -> str:
    """The page in Markdown."""
    total = Counter[str]()
    for one in _cells(found["counts"]):
        total.update(one)
    readings = {name: _sum(found["counts"], formula=name == "formula") for name in ("formula", "code")}
    return "\n".join(
        [
            *_head(total, readings),
            *([f"**Not run: {', '.join(found['missing'])}.**", ""] if found["missing"] else []),
            *(_section("Survived, or in disagreement", _survived(found["wrong"])) if found["wrong"] else []),
            *_section("By estimator", _by_estimator(found["counts"])),
            *_section("By kind of mistake", _by_kind(found["counts"])),
            *_section("Which check kills what", _checks(found["checks"])),
            *_section("Samples of the sequential test", _sample_table(found["samples"])),
            *_section("What a check lets pass that another kills", _missed_list(found["missed"])),
            *_section("Equivalent, with the proof", _equivalent(found["equivalent"])),
        ]
    )


def _head(total: Counter[str], readings: dict[str, Counter[str]]) -> list[str]:
    rows = [(name, *(part[status] for status in STATUSES), sum(part.values())) for name, part in readings.items()]
    rows.append(("together", *(total[status] for status in STATUSES), sum(total.values())))
    return [
        "# Who tests the tests: the mutation table",
        "",
        "Written by `python -m docs.mutants.study` (`make mutants`). Each mistake of a list is made at each place of each",
        "right estimator: in its formula, and in the torch code that is generated for each family. One mistake at a time, and",
        "the checks must find it, unless it is proved that the mean stays as it is.",
        "",
        *_table(("mutants", *STATUSES, "all"), rows),
        "",
        "A formula is judged by `derive.prove`, and its code, in the first family that it is about, by the same checks as",
        "mutants of code. *Killed*: `derive.prove` refutes it, or a check of the mean rejects it. *Equivalent*: proved to have",
        "the same mean, and no check of the mean rejects it. *No number*: a logarithm of what noise makes negative, of which",
        "there is no mean: it is undecided, and the crosscheck says so. *Survived*: none of these. *Disagreement*: proved, and",
        "rejected all the same. The page is written in any case; the command fails if one of the last two is not zero.",
        "",
        "The mistakes: a term or a factor dropped, a sign flipped, K for K-1 (any count one up or down), a part detached or",
        "un-detached, another sample's value taken, a baseline that is updated with the current sample before it is used (by a",
        "twentieth), and noise that is not conditional on the outcome.",
        "",
        "Not among them: what runs under `torch.compile` and `torch.func` only, the helper that draws bits, few in one way and",
        "many in another, and zeros that are added for the shape of a result. No check of a mean comes to all of these; they",
        "are compared by `tests/test_transforms.py`, `tests/test_speed_paths.py` and `tests/test_numeric_catalogue.py`.",
        "",
    ]


def _survived(wrong: Sequence[Row]) -> list[str]:
    """Each mutant that no check rejects and nothing proves, and each about which the readings disagree."""
    return [f"- {row['status']}: {_line(row)}" for row in wrong]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    aligned = "|".join(["---", *["--:"] * (len(head) - 1)])
    return [f"| {' | '.join(map(str, head))} |", f"|{aligned}|", *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def _cells(found: dict[str, Any]) -> Iterable[dict[str, int]]:
    return (cell for families in found.values() for kinds in families.values() for cell in kinds.values())


def _sum(found: dict[str, Any], *, formula: bool) -> Counter[str]:
    total = Counter[str]()
    for families in found.values():
        for family, kinds in families.items():
            if (family == "formula") == formula:
                for cell in kinds.values():
                    total.update(cell)
    return total


def _by_estimator(found: dict[str, Any]) -> list[str]:
    rows = []
    for name, families in found.items():
        for family, kinds in families.items():
            total = Counter[str]()
            for cell in kinds.values():
                total.update(cell)
            rows.append((f"`{name}`", family, *(total[status] for status in STATUSES)))
    return _table(("estimator", "in", *STATUSES), rows)


def _by_kind(found: dict[str, Any]) -> list[str]:
    total: dict[str, Counter[str]] = {}
    for families in found.values():
        for kinds in families.values():
            for kind, cell in kinds.items():
                total.setdefault(kind, Counter()).update(cell)
    rows = [(kind, *(one[status] for status in STATUSES)) for kind, one in sorted(total.items())]
    return _table(("mistake", *STATUSES), rows)


def _checks(found: dict[str, Any]) -> list[str]:
    rows = [
        (name, reading, *(said[name].get(verdict, 0) for verdict in ("killed", "passed", "refused")))
        for reading, said in found.items()
        for name in CHECKS
        if said[name]
    ]
    return [
        "Of the mutants that have another mean. A check cannot judge what it is not made for: the oracle states problems of",
        "finite laws and replaces the draws; an audit by quadrature takes minutes where noise decides an outcome or several",
        "draws are normal, and is not run there; and some formulas with a mistake have no code at all. Of the variance",
        "gradients the mutants are derived and crosschecked, and sampled only where they cannot be compared exactly. The",
        "crosscheck feeds two parameter vectors, and a batch of both; the others feed one and, if they see nothing, the batch.",
        "",
        *_table(("check", "mutants", "killed", "let pass", "cannot judge"), rows),
    ]


def _sample_table(found: dict[str, list[int]]) -> list[str]:
    return [
        "Of mutants of code.",
        f"At a false-alarm rate of {ALPHA:g}, with {SPREAD} times the variance of {CROSSCHECK_SAMPLES:,} samples as the bound;",
        f"first with at most {SAMPLES:,} samples, then with at most {LONG:,} where the crosscheck has seen what these do not.",
        "",
        *_table(("mistake", "rejected", "median", "most"), [(kind, *numbers) for kind, numbers in found.items()]),
    ]


def _missed_list(rows: Sequence[Row]) -> list[str]:
    totals = Counter((name, row["estimator"]) for row in rows for name in row["missed"])
    table = _table(("check", "estimator", "mutants"), [(name, f"`{one}`", n) for (name, one), n in sorted(totals.items())])
    shown = [f"- {', '.join(row['missed'])}: {_line(row)}" for row in rows[:MISSED_SHOWN]]
    more = [f"- and {len(rows) - MISSED_SHOWN} more, in `results.json`"] if len(rows) > MISSED_SHOWN else []
    return [MISSED, "", *table, "", *shown, *more] if rows else ["Nothing."]


def _equivalent(rows: Sequence[Row]) -> list[str]:
    head = "The mean is the same. Some are told apart all the same, by a variance or by the law of the draws."
    lines = [f"- {_line(row)} -- {row['proof']}{_told_apart(row)}" for row in rows]
    return [head, "", *lines]


def _told_apart(row: Row) -> str:
    return "".join(f" (the {name} sees it by {how.removeprefix('by ')})" for name, how in row["seen"].items())


def _line(row: Row) -> str:
    change = row["change"] if len(row["change"]) <= 200 else row["change"][:197] + "..."
    return f"`{row['estimator']}` ({row['family']}), {row['kind']}: `{change}`"
