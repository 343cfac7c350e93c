"""The Sphinx extension: what a page says of an estimator is asked, and what is typed on it checked, when the page is built.

    extensions = ["myst_parser", "gradproof.sphinx"]

What does not stand is an error with its file and line. Then the build ends with a status that is not 0, with `-W` or without,
and so does each later one until the page is mended.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util.logging import getLogger

from gradproof.doors import PACKAGES, open_door

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

STATIC = Path(__file__).parent / "static"


def refuse(env: BuildEnvironment) -> None:
    """Remember that the page that is being read says what does not stand: it is read again in the next build."""
    _refused(env).add(env.docname)
    env.note_reread()


def _refused(env: Any) -> set[str]:
    if not hasattr(env, "gradproof_refused"):
        env.gradproof_refused = set()
    refused: set[str] = env.gradproof_refused
    return refused


def _purge(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    _refused(env).discard(page)


def _merge(app: Sphinx, env: BuildEnvironment, pages: Iterable[str], other: BuildEnvironment) -> None:
    """Take over what another process has read."""
    _refused(env).update(_refused(other) & set(pages))


def _checks_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Say which lines of a Markdown page nearly open a derivation: they would be set as code."""
    reading = open_door("derive.written.page")
    markdown = Path(app.env.doc2path(page)).suffix == ".md"
    for found in reading.blocks(source[0]) if markdown else ():
        if isinstance(found, reading.Unreadable):
            refuse(app.env)
            getLogger(__name__).error("%s", found, location=(page, found.line))


def _knows_fences(app: Sphinx, config: Config) -> None:
    """Make MyST read ```derivation as the directive, without the braces that other readers of Markdown would show."""
    if "myst_fence_as_directive" in config:
        config.myst_fence_as_directive = {*config.myst_fence_as_directive, "derivation"}


def _fails(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and _refused(app.env):
        app.statuscode = 1


def _gives_its_style(app: Sphinx) -> None:
    app.config.html_static_path.append(str(STATIC))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives.

    Raises
        StandsInTheWay, an ImportError, if a module of the user has the name of one of our packages.
    """
    for package in PACKAGES:
        open_door(package)
    for name, directive in import_module("gradproof.directives").DIRECTIVES.items():
        app.add_directive(name, directive)
    app.connect("config-inited", _knows_fences)
    app.connect("builder-inited", _gives_its_style)
    app.connect("env-purge-doc", _purge)
    app.connect("source-read", _checks_pages)
    app.connect("env-merge-info", _merge)
    app.connect("build-finished", _fails)
    app.add_css_file("gradproof.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
