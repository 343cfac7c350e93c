"""The command `gradproof oracle`: exact answers to stated problems, as JSON for tests in any language."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from derive.cli.main import Output, complain_of, deliver, reasons
from derive.cli.sweeps import Backend, Jobs, Results, Sweeping
from derive.cli.terminal import Quiet, example, worst
from derive.language.errors import UsageError

ORACLES = "gradproof/oracles/1"


def register(app: typer.Typer) -> None:
    """Add the command `oracle` to the application."""

    @app.command("oracle", epilog=example("gradproof oracle docs/examples/problem.json"))
    def oracle_(
        problems: Annotated[
            list[Path],
            typer.Argument(metavar="PROBLEM...", help="JSON files of the schema gradproof/problem/1, or folders of them."),
        ],
        *,
        jobs: Jobs = None,
        results: Results = None,
        backend: Backend = None,
        output: Output = None,
        quiet: Quiet = False,
    ) -> int:
        """Write the exact gradient of a problem, and mean, bias and variance of every estimator that applies.

        Of several problems, or a folder of them, the answers are written as one document.
        """
        from derive.verdicts.oracle import answered

        sweeping, names = Sweeping(jobs, results, backend), list(dict.fromkeys(map(str, _files(problems))))
        if names == [str(path) for path in problems] and len(names) == 1:
            sweeping.refuse(names[0])
            _deliver(answered(names[0]), output)
            return 0
        answers = sweeping.answers(answered, names, shown=not quiet, doing="answering")
        found = [{"object": answer.name} | answer.value for answer in answers if not answer.error]
        errors = {answer.name: answer.error for answer in answers if answer.error}
        _deliver({"schema": ORACLES, "oracles": found, "errors": reasons(errors)}, output)
        complain_of(errors)
        return worst(2 for _ in errors)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files, of a folder those that end in .json."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.glob("*.json"))
        if not found:
            message = f"there is no problem in {path}: expected files that end in .json."
            raise UsageError(message)
        yield from found


def _deliver(answer: dict[str, Any], output: Path | None) -> None:
    deliver(json.dumps(answer, indent=2, ensure_ascii=False) + "\n", output)
