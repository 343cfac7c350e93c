"""The whole command `gradproof`: the symbolic commands, and those that generate torch source and run it.

Only `crosscheck` needs torch, and imports it when it is called.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal, TypeAlias

import typer

import derive
from derive.cli import Json, Name, Output, app, deliver, run, write
from derive.errors import UsageError

Families: TypeAlias = Literal["bernoulli", "categorical", "normal"]
Family: TypeAlias = Annotated[Families | None, typer.Option(help="The law to generate for.")]
Size: TypeAlias = Annotated[int, typer.Option(metavar="N", help="The number of bits, classes or normal coordinates.")]
Device: TypeAlias = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the generated code runs.")]


@app.command()
def emit(name: Name, *, family: Family = None, output: Output = None) -> int:
    """Print the torch source of an estimator; torch is not needed for that."""
    import numeric

    estimator = derive.load(name)
    deliver(numeric.emit(estimator, family), output)
    return 0


@app.command()
def crosscheck(
    name: Name, *, family: Family = None, device: Device = "cpu", size: Size = 3, as_json: Json = False
) -> int:
    """Run the generated torch code and compare it with the exact gradient."""
    estimator = derive.load(name)
    try:
        from numeric.crosscheck import crosscheck as check
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "crosscheck runs torch, which is not installed; install gradproof[torch]."
        raise UsageError(message) from error
    report = check(estimator, family, device, size=size)
    write((json.dumps(report.to_json(), indent=2) if as_json else str(report)) + "\n")
    return 0 if report.agrees else 1


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(app))
