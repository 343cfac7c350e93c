"""Run the commands in the console blocks of the documents and write what they print under them."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

from derive.cli.main import run
from docs.given import beside
from numeric.cli.main import app

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```console\n\$ gradproof ([^\n]*)\n.*?^```", re.MULTILINE | re.DOTALL)


def refreshed(block: re.Match[str]) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed):
        run(app, shlex.split(block[1]))
    output = "\n".join(line.rstrip() for line in printed.getvalue().rstrip("\n").splitlines())
    return f"```console\n$ gradproof {block[1]}\n{output}\n```"


def main() -> None:
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        text = path.read_text(encoding="utf-8")
        with beside(text):
            new = BLOCK.sub(refreshed, text)
        path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
