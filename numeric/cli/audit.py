"""The command `gradproof audit`: somebody's torch code over every outcome; torch is imported when it is called."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from derive.cli.main import Json, write
from derive.language.errors import GradproofError, UsageError
from derive.verdicts.loading import user_module

Case = Annotated[str, typer.Argument(metavar="FILE.py:CASE", help="A file and the name of a numeric.AuditCase in it.")]
Budget = Annotated[int, typer.Option(metavar="N", help="The most outcomes to run.")]

LONG = 2_000
"""So many outcomes are long work: their number is said before it."""


def audit(case: Case, *, budget: Budget = 100_000, as_json: Json = False) -> int:
    """Hold the gradient of torch code against the exact gradient of its objective, over every outcome of its draws.

    Where they are many, their number is said on standard error before they are run. The status is 3 where nothing could be
    decided: no outcome has a gradient and the exact one is zero, so that code that does nothing would pass.
    """
    found = audit_case(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _audit_module().AuditWarning)
        report = found(budget=budget, raise_exception=False, progress=_say)
    if as_json:
        write(json.dumps(report.to_json() | {"case": case}, indent=2) + "\n")
    else:
        write(f"{case}: {report}\n")
    return 3 if report.vacuous else 0 if report else 1


def _say(what: str, expected: Any) -> None:
    """Say how many outcomes there are, before long work."""
    if expected.outcomes >= LONG:
        typer.echo(f"{what}: {expected}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(audit)


def audit_case(name: str) -> Any:
    """Return the numeric.AuditCase that is named; an error of its own code is an error of the user.

    Raises
        UsageError, if torch is not installed, or there is no such case.
    """
    module = _audit_module()
    path, colon, attribute = name.rpartition(":")
    if not colon:
        message = f"audit takes FILE.py:CASE, where CASE is a numeric.AuditCase; got {name!r}."
        raise UsageError(message)
    found = getattr(user_module(Path(path)), attribute, None)
    if not isinstance(found, module.AuditCase):
        what = "does not exist" if found is None else f"is a {type(found).__name__}"
        message = f"{name} {what}; expected numeric.AuditCase(loss=..., params=..., objective=...)."
        raise UsageError(message)
    return replace(found, loss=_guarded(found.loss, name), objective=_guarded(found.objective, name))


def _guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The user's function, whose own errors are errors of the user."""

    @wraps(function)
    def guarded(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except GradproofError:
            raise
        except Exception as error:
            message = f"{name} failed in {getattr(function, '__name__', 'its function')}: {type(error).__name__}: {error}"
            raise UsageError(message) from error

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
