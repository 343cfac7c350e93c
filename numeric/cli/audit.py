"""The command `gradproof audit`: somebody's torch code over every outcome; torch is imported when it is called."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from derive.cli.main import Json, complain_of, deliver, reasons, write
from derive.cli.sweeps import Backend, Results, Sweeping
from derive.cli.terminal import Quiet, example, worst
from derive.language.errors import UsageError
from derive.verdicts.loading import as_user, members, split, user_module
from derive.verdicts.sweep import answer_of

Case = Annotated[
    str,
    typer.Argument(metavar="FILE.py[:CASE]", help="A file and a numeric.AuditCase in it, or a file for all of them."),
]
Budget = Annotated[int, typer.Option(metavar="N", help="The most outcomes to run.")]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", help="Run the cases of a file, or the outcomes of one, in N processes; -1: one a processor."),
]
Export = Annotated[
    Path | None,
    typer.Option("--export", metavar="TEST.py", help="Write the case as a test that imports torch and itertools only."),
]

LONG = 2_000
"""So many outcomes are long work: their number is said before it."""


def audit(
    case: Case,
    *,
    budget: Budget = 100_000,
    jobs: Jobs = None,
    results: Results = None,
    backend: Backend = None,
    export: Export = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Hold the gradient of torch code against the exact gradient of its objective, over every outcome of its draws.

    Where they are many, their number is said on standard error before they are run. The status is 3 where nothing could be
    decided: no outcome has a gradient and the exact one is zero, so that code that does nothing would pass. Of a file without
    :CASE every case is audited, and the status is the worst. With --export the case is written as a test with its exact
    values that imports torch and itertools only.
    """
    path, name = split(case)
    if path is not None and name is None:
        if export is not None:
            message = f"--export writes the test of one case; name it, as in {path}:case."
            raise UsageError(message)
        return _audit_file(path, budget, Sweeping(jobs, results, backend), as_json=as_json, quiet=quiet)
    Sweeping(None, results, backend).refuse(case)
    found = audit_case(case)
    report = _audited(found, budget, jobs, quiet=quiet)
    if export is not None and path is not None and name is not None:
        _export(path, name, found, report, budget, export)
    if as_json:
        write(json.dumps(report.to_json() | {"case": case}, indent=2) + "\n")
    else:
        _show(case, report, quiet=quiet)
    return _status(report)


def _export(path: Path, name: str, case: Any, report: Any, budget: int, target: Path) -> None:
    from numeric.cli.export import exported

    outcomes = _audit_module().every_outcome(case.loss, case.params, state=case.state, budget=budget)
    deliver(exported(path, name, case, report, outcomes), target)


def _audit_file(path: Path, budget: int, sweeping: Sweeping, *, as_json: bool, quiet: bool) -> int:
    """Audit every case of a file; one that cannot be audited does not keep the others from it."""
    cases = audit_cases(path)
    if sweeping.asked_for:
        shown = not (as_json or quiet)
        answers = sweeping.answers(partial(audited, budget=budget), list(cases), shown=shown, doing="auditing")
    else:
        here = partial(_audited_here, cases, budget, quiet)
        answers = [answer_of(here, name) for name in cases]
    found = {answer.name: answer.value for answer in answers if not answer.error}
    errors = {answer.name: answer.error for answer in answers if answer.error}
    if as_json:
        reports = [value["report"] for value in found.values()]
        write(json.dumps({"schema": "gradproof/audits/1", "audits": reports, "errors": reasons(errors)}, indent=2) + "\n")
    for name, value in () if as_json else found.items():
        write(f"{name}: {value['report']['verdict'] if quiet else value['shown']}\n")
    complain_of(errors)
    return worst([*(value["status"] for value in found.values()), *(2 for _ in errors)])


def _audited_here(cases: Mapping[str, Any], budget: int, quiet: bool, name: str) -> dict[str, Any]:
    return _answer(name, _audited(cases[name], budget, None, quiet=quiet))


def audited(name: str, *, budget: int = 100_000) -> dict[str, Any]:
    """Return what `gradproof audit` says of a case by its name: the report in the form of the contract, its text, the status.

    Raises
        UsageError, if there is no such case; what the audit raises.
    """
    return _answer(name, _audited(audit_case(name), budget, None, quiet=True))


def _answer(name: str, report: Any) -> dict[str, Any]:
    return {"report": report.to_json() | {"case": name}, "shown": str(report), "status": _status(report)}


def _audited(case: Any, budget: int, jobs: int | None, *, quiet: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _audit_module().AuditWarning)
        said = None if quiet else _say
        return case(budget=budget, raise_exception=False, progress=said, jobs=1 if jobs is None else jobs)


def _show(name: str, report: Any, *, quiet: bool) -> None:
    write(f"{name}: {report.verdict if quiet else report}\n")


def _status(report: Any) -> int:
    return 0 if report else 1 if report.unexpected else 3 if report.vacuous or report.undecided else 1


def _say(what: str, expected: Any) -> None:
    """Say how many outcomes there are, before long work."""
    if expected.outcomes >= LONG:
        typer.echo(f"{what}: {expected}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog=example("gradproof audit docs/examples/moving_average.py:case"))(audit)


def audit_case(name: str) -> Any:
    """Return the numeric.AuditCase that is named; an error of its own code is an error of the user.

    Raises
        UsageError, if torch is not installed, or there is no such case.
    """
    module = _audit_module()
    path, attribute = split(name)
    if path is None or attribute is None:
        message = f"audit takes FILE.py:CASE, where CASE is a numeric.AuditCase; got {name!r}."
        raise UsageError(message)
    found = getattr(user_module(path), attribute, None)
    if not isinstance(found, module.AuditCase):
        what = "does not exist" if found is None else f"is a {type(found).__name__}"
        message = f"{name} {what}; expected numeric.AuditCase(loss=..., params=..., objective=...)."
        raise UsageError(message)
    return _of_user(found, name, path)


def audit_cases(path: Path) -> dict[str, Any]:
    """Return every numeric.AuditCase of a file, as `audit_case` does.

    Raises
        UsageError, if torch is not installed, or there is none.
    """
    found = members(user_module(path), _audit_module().AuditCase)
    if not found:
        message = f"{path} has no audit cases; expected case = numeric.AuditCase(loss=..., params=..., objective=...)."
        raise UsageError(message)
    return {f"{path}:{name}": _of_user(case, f"{path}:{name}", path) for name, case in found.items()}


def _of_user(case: Any, name: str, path: Path) -> Any:
    aim = case.objective
    several = isinstance(aim, Mapping)
    guarded = {key: _guarded(each, name, path) for key, each in aim.items()} if several else _guarded(aim, name, path)
    return replace(case, loss=_guarded(case.loss, name, path), objective=guarded)


def _guarded(function: Callable[..., Any], name: str, path: Path) -> Callable[..., Any]:
    """The user's function, whose own errors are errors of the user."""

    @wraps(function)
    def guarded(*arguments: Any) -> Any:
        with as_user(path, f"{name} failed in {getattr(function, '__name__', 'its function')}"):
            return function(*arguments)

    return guarded


def _audit_module() -> Any:
    try:
        import numeric.auditing.audit as module
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "audit runs torch, which is not installed; install gradproof[torch]."
        raise UsageError(message) from error
    return module
