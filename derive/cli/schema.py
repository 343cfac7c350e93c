"""The command `gradproof schema`: what the JSON that other commands write looks like."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from derive.cli.main import Output, deliver
from derive.cli.terminal import example


def register(app: typer.Typer) -> None:
    """Add the command `schema` to the application."""

    @app.command("schema", epilog=example("gradproof schema oracle"))
    def schema_(
        kind: Annotated[str | None, typer.Argument(metavar="KIND", help="As in gradproof/KIND/1; without it, a list.")] = None,
        *,
        output: Output = None,
    ) -> int:
        """Print the JSON Schema of a kind of document: a problem, an oracle, a verdict, and the others that --json writes."""
        from derive.verdicts.strict_json import kinds, schema_of

        text = "\n".join(kinds()) if kind is None else json.dumps(schema_of(kind), indent=2, ensure_ascii=False)
        deliver(text + "\n", output)
        return 0
