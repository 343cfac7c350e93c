"""The command `gradproof oracle`: exact answers to a stated problem, as JSON for tests in any language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from derive.cli.main import Output, deliver
from derive.cli.terminal import example


def register(app: typer.Typer) -> None:
    """Add the command `oracle` to the application."""

    @app.command("oracle", epilog=example("gradproof oracle docs/examples/problem.json"))
    def oracle_(
        problem: Annotated[Path, typer.Argument(metavar="PROBLEM", help="A JSON file of the schema gradproof/problem/1.")],
        *,
        output: Output = None,
    ) -> int:
        """Write the exact gradient of a problem, and mean, bias and variance of every estimator that applies."""
        from derive.verdicts.oracle import oracle
        from derive.verdicts.problem import read_problem

        answers = oracle(read_problem(problem))
        deliver(json.dumps(answers.to_json(), indent=2, ensure_ascii=False) + "\n", output)
        return 0
