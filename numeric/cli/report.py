"""The command `gradproof report`: what is named is loaded here; the rest is imported when the command is called."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path, PurePath
from typing import Annotated, Any

import typer

import derive
from derive.catalogue import catalogue
from derive.cli.main import Json, write
from derive.cli.terminal import Quiet, console, example, tracked
from derive.verdicts.loading import user_module
from numeric.cli.audit import audit_case

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Catalogue names, path/to/file.py:object (Estimator or AuditCase), problem.json."),
]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder, or that of an earlier report.")]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""

    @app.command("report", epilog=example("gradproof report score-function -o report"))
    def report_(names: Names = None, *, output: Folder, as_json: Json = False, quiet: Quiet = False) -> int:
        """Write an HTML report: everything about the whole catalogue, or about what is named.

        The status is 0 if every verdict is the declared one and every check bears it out, 1 if not, 3 if one could not be run.
        Where torch is not installed no code is run, and the pages say so.
        """
        from numeric.report.pages import headline
        from numeric.report.site import earlier_files, make, save, to_json

        earlier = earlier_files(output)
        subjects = [(named(name), subject(name)) for name in dict.fromkeys(names or catalogue)]
        seen = not quiet and sys.stderr.isatty()
        report = make(tracked(subjects, shown=seen, doing="reporting"), everything=not names)
        with console(stderr=True).status("drawing") if seen else nullcontext():
            files = save(report, output, earlier)
        if as_json:
            write(json.dumps(to_json(report, files), indent=2, ensure_ascii=False) + "\n")
        else:
            write(f"{output / 'index.html'}: {headline(report)}\n")
        return report.exit_code


def subject(name: str) -> Any:
    """Return the Estimator, AuditCase or Problem that is named.

    Raises
        UsageError, if it is none of these.
    """
    if name.endswith(".json"):
        from derive.verdicts.problem import read_problem

        return read_problem(Path(name))
    path, colon, attribute = name.rpartition(":")
    if colon and type(getattr(user_module(Path(path)), attribute, None)).__name__ == "AuditCase":
        return audit_case(name)
    return derive.load(name)


def named(name: str) -> str:
    """Return how a page writes a name: a path that leaves the current folder is cut down to its last part.

    >>> named("/srv/somebody/mine.py:estimator"), named("docs/mine.py:estimator")
    ('mine.py:estimator', 'docs/mine.py:estimator')
    """
    path = PurePath(name)
    return path.name if path.is_absolute() or ".." in path.parts else name
