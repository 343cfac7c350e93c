"""Look at built pages in a headless Chromium: `python -m docs.site.look FOLDER` says what is wrong with each, at 390 pixels.

With `--pictures FOLDER` it writes pictures of the first page, an estimator and the gallery there, wide and narrow.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SCRIPT = Path(__file__).parent / "look.js"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr")
DARK = "--blink-settings=preferredColorScheme=0"
SECONDS = 600
SHOWN = {"first": "index.html", "estimator": "estimators/rebar.html", "gallery": "gallery/README.html"}
_FRAME = '<!doctype html><body style="margin:0"><iframe src="{}" style="border:0;width:390px;height:844px"></iframe>'


def browser() -> str | None:
    """Return the path of a Chromium, None where none is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _run(url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser() or "chromium", *FLAGS, f"--user-data-dir={profile}", *flags, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@contextmanager
def _beside(folder: Path, text: str) -> Iterator[str]:
    """Put a page into a folder for as long as it is looked at; yield its name."""
    path = folder / "_looked_at.html"
    path.write_text(text, encoding="utf-8")
    try:
        yield path.name
    finally:
        path.unlink()


def look(folder: Path, pages: Sequence[str], *flags: str) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Look at pages of a folder as a telephone shows them.

    Returns
        for each page what is `found` to be wrong, and its `background`; and what was written to the console

    Raises
        RuntimeError, with what the browser said, if it did not come to an end.
    """
    script = f"{SCRIPT.read_text(encoding='utf-8')}\nlook({json.dumps(list(pages))});"
    page = f"<!doctype html><meta charset=utf-8><body><script>{script}</script>"
    with _beside(folder, page) as name, _served(folder) as base:
        done = _run(f"{base}/{name}", *flags, "--dump-dom", "--virtual-time-budget=600000")
    answers = re.search(r"ANSWERS:(\{.*\}):END", done.stdout, re.DOTALL)
    if answers is None:
        message = f"the browser did not come to an end: {done.stderr[-2000:]}"
        raise RuntimeError(message)
    return json.loads(html.unescape(answers[1])), [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def picture(folder: Path, page: str, to: Path, *, narrow: bool = False, dark: bool = False) -> None:
    """Write a picture of a page, as wide as a screen or as a telephone."""
    flags = [f"--screenshot={to.resolve()}", "--hide-scrollbars", *([DARK] if dark else [])]
    with _served(folder) as base, _beside(folder, _FRAME.format(page)) as frame:
        _run(f"{base}/{frame if narrow else page}", *flags, f"--window-size={'500,844' if narrow else '1280,900'}")


def main() -> None:
    folder = Path(sys.argv[1])
    pages = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html") if "_modules" not in path.parts)
    answers, console = look(folder, pages)
    for page, answer in answers.items():
        print(*(f"{page}: {each}\n" for each in answer["found"]), sep="", end="")  # type: ignore[attr-defined]
    print(*console, sep="\n")
    if "--pictures" in sys.argv:
        to = Path(sys.argv[sys.argv.index("--pictures") + 1])
        to.mkdir(parents=True, exist_ok=True)
        for name, page in SHOWN.items():
            for width in ("wide", "narrow"):
                picture(folder, page, to / f"{name}-{width}.png", narrow=width == "narrow")
        picture(folder, SHOWN["first"], to / "first-dark.png", dark=True)


if __name__ == "__main__":
    main()
