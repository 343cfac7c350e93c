"""The whole command `gradproof`: the symbolic commands, and those that generate torch source and run it.

Only `crosscheck` needs torch, and imports it when it is called.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

import derive
from derive.catalogue import catalogue
from derive.cli.check import register as register_check
from derive.cli.main import DRAWING, Json, Name, OneOrMany, Output, Samples, app, complain_of, deliver, reasons, run, write
from derive.cli.oracle import register as register_oracle
from derive.cli.schema import register as register_schema
from derive.cli.sweeps import Backend, Jobs, Results, Sweeping
from derive.cli.terminal import Quiet, console, example, worst
from derive.language.errors import NotEvaluable, UnknownNode, UsageError
from derive.language.estimator import HOLDING, Estimator
from derive.verdicts.loading import load_all
from derive.verdicts.sweep import Work
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
    jobs: Jobs = None,
    results: Results = None,
    backend: Backend = None,
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
    check, sweeping = _crosscheck(), Sweeping(jobs, results, backend)
    if everything:
        return _crosscheck_all(sweeping, family, device, size, as_json=as_json, quiet=quiet)
    found = load_all(str(name), samples)
    if str(name) not in found:
        work = partial(checked, family=family, device=device, size=size, samples=samples)
        return _crosscheck_file(work, list(found), sweeping, as_json=as_json, quiet=quiet)
    sweeping.refuse(str(name))
    report = check(found[str(name)], family, device, size=size)
    write((json.dumps(report.to_json(), indent=2) if as_json else _headline(report, quiet=quiet)) + "\n")
    return _status(report)


def _status(report: Any) -> int:
    return 0 if report.agrees else 3 if report.vacuous else 1


def _headline(report: Any, *, quiet: bool) -> str:
    return str(report).partition(";")[0] if quiet else str(report)


def _crosscheck_file(work: Work, names: list[str], sweeping: Sweeping, *, as_json: bool, quiet: bool) -> int:
    """Check every estimator of a file; one that cannot be checked does not keep the others from it."""
    answers = sweeping.answers(work, names, shown=not (as_json or quiet), doing="crosschecking")
    found = {answer.name: answer.value for answer in answers if not answer.error}
    errors = {answer.name: answer.error for answer in answers if answer.error}
    if as_json:
        reports = [{"object": name} | value["report"] for name, value in found.items()]
        write(json.dumps({"schema": CROSSCHECKS, "crosschecks": reports, "errors": reasons(errors)}, indent=2) + "\n")
    else:
        write("".join(f"{name}: {value['headline' if quiet else 'shown']}\n" for name, value in found.items()))
    complain_of(errors)
    return worst([*(value["status"] for value in found.values()), *(2 for _ in errors)])


def checked(name: str, *, samples: int | None = None, **options: Any) -> dict[str, Any]:
    """Return what `gradproof crosscheck` says of an estimator by its name: the report as JSON, as text, and the status.

    Args
        name, samples   as for `derive.load`
        options         as for `numeric.crosscheck`
    """
    report = _crosscheck()(derive.load(name, samples), **options)
    shown = {quiet: _headline(report, quiet=quiet) for quiet in (True, False)}
    return {"report": report.to_json(), "shown": shown[False], "headline": shown[True], "status": _status(report)}


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


def _crosscheck_all(
    sweeping: Sweeping, family: str | None, device: str, size: int | None, *, as_json: bool, quiet: bool
) -> int:
    from numeric.codegen.torchgen import usual_families

    every = [f"{estimator.name} {law}" for estimator in catalogue.values() for law in usual_families(estimator)]
    names = [name for name in every if family in {None, name.split()[1]}]
    work = partial(crosschecked, device=device, size=size)
    rows = sweeping.answers(work, names, shown=not (as_json or quiet), doing="crosschecking")
    found = {row.name: row.value for row in rows if not row.error}
    right = [answer["as_declared"] in (None, True) for answer in found.values()]
    if as_json:
        answer = {"schema": CROSSCHECKS, "as_declared": all(right), "crosschecks": list(found.values())}
        write(json.dumps(answer, indent=2) + "\n")
    elif quiet:
        write("".join(f"{_called(answer)}: {_cells(answer)[-1]}\n" for answer in found.values()))
    else:
        _show(list(found.values()))
    complain_of({row.name: row.error for row in rows if row.error})
    undecided = any("reason" in answer for answer in found.values())
    return worst([0 if all(right) else 1, 3 if undecided else 0, 2 if len(found) < len(rows) else 0])


def crosschecked(name: str, device: str = "cpu", size: int | None = None) -> dict[str, Any]:
    """Return the crosscheck of an estimator of the catalogue in a family, as "rebar bernoulli", and what was declared.

    In place of a report there is the reason, where the formula has no torch code or no exact value, or the check is vacuous.
    """
    called, family = name.split()
    estimator = catalogue[called]
    refused = {"estimator": called, "family": family, "declared": estimator.verdict, "as_declared": None}
    try:
        report = _crosscheck()(estimator, family, device, size=size)
    except (UsageError, NotEvaluable, UnknownNode) as error:
        return refused | {"reason": str(error)}
    if report.vacuous:
        return refused | {"reason": str(report)}
    agreed: dict[str, Any] = report.to_json()
    return agreed | {"declared": estimator.verdict, "as_declared": report.agrees == (estimator.verdict in HOLDING)}


def _called(answer: dict[str, Any]) -> str:
    return f"{answer['estimator']} ({answer['family']})"


def _show(answers: Sequence[dict[str, Any]]) -> None:
    columns = ("name", "family", "size", "rows", "largest error", "largest |z|", "result", "declared", "")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for answer in answers:
        names = Text(answer["estimator"]), answer["family"]
        table.add_row(*names, *_cells(answer), Text(answer["declared"]), _mark(answer["as_declared"]))
    reasons = [Text(f"{_called(answer)}: {answer['reason']}") for answer in answers if "reason" in answer]
    page = console(width=130)
    with page.capture() as captured:
        page.print(table, *reasons, sep="\n")
    write(captured.get())


def _cells(answer: dict[str, Any]) -> tuple[str | Text, ...]:
    if "reason" in answer:
        return ("", "", "", "", Text("not run", style="magenta"))
    checks = answer["zero_noise"]
    z = max(abs(float(score)) for score in answer["sampling"]["z_scores"])
    error = max(float(check["max_error"]) for check in checks)
    result = Text("agrees", style="green") if answer["agrees"] else Text("disagrees", style="yellow")
    return (str(answer["size"]), str(checks[0]["rows"]), f"{error:.1e}", f"{z:.1f}", result)


def _mark(as_declared: bool | None) -> Text:
    if as_declared is None:
        return Text("")
    return Text("as declared") if as_declared else Text("NOT AS DECLARED", style="red")


def _variance_plot(estimator: Estimator) -> str:
    from numeric.report.plots import variance_plot

    return variance_plot(estimator)[1]


DRAWING["variance"] = _variance_plot
register_oracle(app)
register_schema(app)
register_check(app)
register_audit(app)
register_report(app)
register_gallery(app)


GARBAGE = (20_000, 20, 10)
"""Proofs keep most of what they make: to look for garbage as often as Python does took a quarter of their time."""


def main() -> None:
    """Run the command line and exit with its status."""
    gc.set_threshold(*GARBAGE)
    sys.exit(run(app))
