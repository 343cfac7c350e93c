"""The experiment of note 001: minimise E[(0.501 - b)^2] over one Bernoulli parameter, with one sample a step.

`python -m docs.experiment.run`, from the root of the repository, trains with every estimator and writes results.json, README.md
and the plots beside this file; with `--page` it writes the page and the plots from the stored results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from docs.experiment import page
from docs.experiment.training import SETTINGS, rounded, run


def main() -> None:
    parser = argparse.ArgumentParser(description="The experiment of note 001.")
    parser.add_argument("-o", "--output", type=Path, default=page.HERE, help="the folder to write into")
    parser.add_argument("--page", action="store_true", help="train nothing, use the stored results")
    arguments = parser.parse_args()
    stored = arguments.output / "results.json"
    if not arguments.page:
        stored.write_text(json.dumps(rounded(run(SETTINGS)), separators=(",", ":")) + "\n", encoding="utf-8")
    page.write(json.loads(stored.read_text(encoding="utf-8")), arguments.output)


if __name__ == "__main__":
    main()
