"""The whole command `gradproof`: the symbolic commands, and those that generate torch source and run it.

Only `crosscheck` needs torch, and imports it when it is called.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

import derive
from derive.catalogue import catalogue
from derive.cli.check import register as register_check
from derive.cli.main import Json, Name, OneOrMany, Output, Samples, app, complain_of, deliver, reasons, run, write
from derive.cli.oracle import register as register_oracle
from derive.cli.terminal import Quiet, console, example, tracked, worst
from derive.language.errors import GradproofError, NotEvaluable, UnknownNode, UsageError
from derive.language.estimator import HOLDING, Estimator
from derive.verdicts.loading import load_all
from numeric.cli.audit import register as register_audit
from numeric.cli.gallery import register as register_gallery
from numeric.cli.report import register as register_report

CROSSCHECKS = "gradproof/crosschecks/1"

Families: TypeAlias = Literal["bernoulli", "categorical", "normal", "vector"]
Family: TypeAlias = Annotated[Families | None, typer.Option(help="The law to generate for.")]
Size: TypeAlias = Annotated[int | None, typer.Option(metavar="N", help="The number of bits, classes or normal coordinates.")]
Device: TypeAlias = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the generated code runs.")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Crosscheck the whole catalogue, in every usual family.")]


@app.command(epilog=example("gradproof emit rebar --family bernoulli"))
def emit(name: Name, *, family: Family = None, samples: Samples = None, output: Output = None) -> int:
    """Print the torch source of an estimator; torch is not needed for that."""
    import numeric

    estimator = derive.load(name, samples)
    deliver(numeric.emit(estimator, family), output)
    return 0


@app.command(epilog=example("gradproof crosscheck score-function --family bernoulli"))
def crosscheck(
    name: OneOrMany = None,
    *,
    everything: All = False,
    family: Family = None,
    device: Device = "cpu",
    size: Size = None,
    samples: Samples = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run the generated torch code and compare it with the exact gradient.

    The status is 0 if they agree, 1 if not, and 3 if target and estimates are zero everywhere, so that any code would pass.
    With --all it is 0 when each estimator agrees if its declared verdict says that it holds and disagrees if not, 1 when one
    does not, and 3 when one could not be run or decides nothing.
    """
    if everything == (name is not None):
        message = "crosscheck takes a NAME, or --all for the whole catalogue: exactly one of them."
        raise UsageError(message)
    if everything and samples is not None:
        message = "crosscheck --all takes the catalogue as it is: give --samples with a NAME."
        raise UsageError(message)
    check = _crosscheck()
    if everything:
        one = lambda estimator, law: check(estimator, law, device, size=size)  # noqa: E731
        return _crosscheck_all(one, family, as_json=as_json, quiet=quiet)
    found = load_all(str(name), samples)
    if str(name) not in found:
        return _crosscheck_file(lambda each: check(each, family, device, size=size), found, as_json=as_json, quiet=quiet)
    report = check(found[str(name)], family, device, size=size)
    write((json.dumps(report.to_json(), indent=2) if as_json else _headline(report, quiet=quiet)) + "\n")
    return _status(report)


def _status(report: Any) -> int:
    return 0 if report.agrees else 3 if report.vacuous else 1


def _headline(report: Any, *, quiet: bool) -> str:
    return str(report).partition(";")[0] if quiet else str(report)


def _crosscheck_file(check: Callable[[Estimator], Any], found: dict[str, Estimator], *, as_json: bool, quiet: bool) -> int:
    """Check every estimator of a file; one that cannot be checked does not keep the others from it."""
    reports: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, estimator in found.items():
        try:
            reports[name] = check(estimator)
        except GradproofError as error:
            errors[name] = str(error)
    if as_json:
        answers = [{"object": name} | report.to_json() for name, report in reports.items()]
        write(json.dumps({"schema": CROSSCHECKS, "crosschecks": answers, "errors": reasons(errors)}, indent=2) + "\n")
    else:
        write("".join(f"{name}: {_headline(report, quiet=quiet)}\n" for name, report in reports.items()))
    complain_of(errors)
    return worst([*map(_status, reports.values()), *(2 for _ in errors)])


def _crosscheck() -> Callable[..., Any]:
    """The function that needs torch.

    Raises
        UsageError, if torch is not installed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other on a busy machine cost more than they gain
    try:
        from numeric.checking.crosscheck import crosscheck as check
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "crosscheck runs torch, which is not installed; install gradproof[torch]."
        raise UsageError(message) from error
    return check


def _crosscheck_all(check: Callable[[Estimator, str], Any], family: str | None, *, as_json: bool, quiet: bool) -> int:
    from numeric.codegen.torchgen import usual_families

    every = [(estimator, law) for estimator in catalogue.values() for law in usual_families(estimator)]
    wanted = [(estimator, law) for estimator, law in every if family in {None, law}]
    each = tracked(wanted, shown=not (as_json or quiet), doing="crosschecking")
    rows = [(estimator, law, _tried(check, estimator, law)) for estimator, law in each]
    right = [isinstance(found, str) or found.agrees == (e.verdict in HOLDING) for e, _, found in rows]
    if as_json:
        answers = [_as_json(estimator, law, found) for estimator, law, found in rows]
        answer = {"schema": CROSSCHECKS, "as_declared": all(right), "crosschecks": answers}
        write(json.dumps(answer, indent=2) + "\n")
    elif quiet:
        write("".join(f"{e.name} ({law}): {_cells(found)[-1]}\n" for e, law, found in rows))
    else:
        _show(rows)
    undecided = any(isinstance(found, str) for _, _, found in rows)
    return 1 if not all(right) else 3 if undecided else 0


def _tried(check: Callable[[Estimator, str], Any], estimator: Estimator, family: str) -> Any:
    """The report, or the reason where the formula has no torch code or no exact value, or where the check is vacuous."""
    try:
        report = check(estimator, family)
    except (UsageError, NotEvaluable, UnknownNode) as error:
        return str(error)
    return str(report) if report.vacuous else report


def _as_json(estimator: Estimator, family: str, found: Any) -> dict[str, Any]:
    declared = {"declared": estimator.verdict}
    if isinstance(found, str):
        return {"estimator": estimator.name, "family": family, **declared, "as_declared": None, "reason": found}
    answer: dict[str, Any] = found.to_json()
    return answer | declared | {"as_declared": found.agrees == (estimator.verdict in HOLDING)}


def _show(rows: Sequence[tuple[Estimator, str, Any]]) -> None:
    columns = ("name", "family", "size", "rows", "largest error", "largest |z|", "result", "declared", "")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for estimator, family, found in rows:
        table.add_row(Text(estimator.name), family, *_cells(found), Text(estimator.verdict), _mark(estimator, found))
    reasons = [Text(f"{e.name} ({family}): {found}") for e, family, found in rows if isinstance(found, str)]
    page = console(width=130)
    with page.capture() as captured:
        page.print(table, *reasons, sep="\n")
    write(captured.get())


def _cells(found: Any) -> tuple[str | Text, ...]:
    if isinstance(found, str):
        return ("", "", "", "", Text("not run", style="magenta"))
    z, error = max(map(abs, found.sampling.z_scores)), max(check.max_error for check in found.zero_noise)
    result = Text("agrees", style="green") if found.agrees else Text("disagrees", style="yellow")
    return (str(found.size), str(found.zero_noise[0].rows), f"{error:.1e}", f"{z:.1f}", result)


def _mark(estimator: Estimator, found: Any) -> Text:
    if isinstance(found, str):
        return Text("")
    right = found.agrees == (estimator.verdict in HOLDING)
    return Text("as declared") if right else Text("NOT AS DECLARED", style="red")


register_oracle(app)
register_check(app)
register_audit(app)
register_report(app)
register_gallery(app)


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(app))
