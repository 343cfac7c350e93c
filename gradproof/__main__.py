"""The command `gradproof`, also as `python -m gradproof`."""

from __future__ import annotations

import sys

from gradproof.doors import StandsInTheWay, open_door


def main() -> None:
    """Run the command line and exit with its status; 2 where a module of the user hides one of our packages."""
    try:
        command = open_door("numeric.cli.main")
    except StandsInTheWay as error:
        sys.stderr.write(f"gradproof: {error}\n")
        sys.exit(2)
    command.main()


if __name__ == "__main__":
    main()
