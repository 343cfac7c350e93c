"""Build the site: `make docs`. The pages that are there are gathered, the others generated, and Sphinx makes HTML of all."""

from __future__ import annotations

import io
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import derive
import numeric
from derive.catalogue import catalogue
from derive.cli.main import run
from derive.printing import html
from docs.site import api, estimators, gather, laws, rules
from docs.site.rules import page_of_rule
from docs.templates import filled
from numeric.cli.main import app

HERE = Path(__file__).parent
SHOWN, AUDITED = "score-function", "gradproof audit docs/examples/moving_average.py:case"


def first_page() -> str:
    """Return the first page: a derivation beside its code, and an audit, all of it asked now."""
    verdict = derive.prove(catalogue[SHOWN])
    lines = [
        {"reason": line.reason, "page": page_of_rule(line.rule), "math": html.render(line.term)}
        for line in ([] if verdict.derivation is None else verdict.derivation.lines)
    ]
    code = numeric.emit(catalogue[SHOWN], "bernoulli").partition("import torch")[2].strip()
    audit = {"command": AUDITED, "printed": printed(AUDITED)}
    report = numeric.crosscheck(catalogue[SHOWN], "bernoulli")
    crosscheck = "is vacuous" if report.vacuous else "agrees" if report.agrees else "disagrees"
    facts = {"lines": lines, "crosscheck": crosscheck, "verdict": verdict, "code": code, "audit": audit, "modules": api.MODULES}
    template = HERE / "templates" / "index.md.jinja"
    listed = template.read_text(encoding="utf-8").splitlines()
    others = [Path(place).stem for place in gather.pages().values() if "/" not in place and Path(place).stem not in listed]
    return filled(template, facts | {"others": [name for name in others if name != "introduction"]})


def printed(command: str) -> str:
    """Return what a command of ours prints."""
    output = io.StringIO()
    with redirect_stdout(output):
        run(app, shlex.split(command)[1:])
    return output.getvalue().strip()


def write_source(source: Path, extra: Path, names: Sequence[str] = tuple(catalogue)) -> dict[str, int]:
    """Write everything that Sphinx reads; return the number of pages of each kind."""
    gather.gather(source, extra)
    pages = estimators.write(source, names)
    rules.write(source, {page.name: page.rules for page in pages})
    laws.write(source, names)
    count = api.write(source)
    (source / "index.md").write_text(first_page(), encoding="utf-8")
    written = [path for path in source.rglob("*") if path.suffix in (".md", ".rst")]
    return {"pages": len(written), "estimators": len(pages), "public names": count}


def build(folder: Path, names: Sequence[str] = tuple(catalogue)) -> dict[str, int]:
    """Build the site into `folder/html`.

    Raises
        SystemExit, if Sphinx warns of anything.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "extra").mkdir(parents=True)
    counts = write_source(folder / "source", folder / "extra", names)
    if status := sphinx(folder):
        raise SystemExit(status)
    return counts


def sphinx(folder: Path) -> int:
    """Make HTML of `folder/source`; return what Sphinx returns, which is not 0 where it warns."""
    from sphinx.cmd.build import build_main

    options = ["-b", "html", "-q", "-W", "--keep-going", "-j", "auto", "-c", str(HERE), "-d", str(folder / "doctrees")]
    extra = ["-D", f"html_extra_path={(folder / 'extra').resolve()}"]
    return int(build_main([*options, *extra, str(folder / "source"), str(folder / "html")]))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/site")
    start = time.perf_counter()
    counts = build(folder)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (folder / "html").rglob("*") if path.is_file())
    said = ", ".join(f"{number} {what}" for what, number in counts.items())
    print(f"{folder / 'html' / 'index.html'}: {said}; {size / 1e6:.1f} MB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
