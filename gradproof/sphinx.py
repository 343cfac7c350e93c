"""The Sphinx extension: what a page says of an estimator is asked, and what is typed on it checked, when the page is built.

    extensions = ["myst_parser", "gradproof.sphinx"]

What does not stand is an error with its file and line. Then the build ends with a status that is not 0, with `-W` or without,
and so does each later one until the page is mended. A page is asked again when a file that it names has changed, or a module
that this file imports from outside of Python's own folders, or gradproof.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.errors import ExtensionError, FiletypeNotFoundError
from sphinx.util import get_filetype
from sphinx.util.logging import getLogger

from gradproof.doors import PACKAGES, open_door

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

STATIC = Path(__file__).parent / "static"
_OURS = (*PACKAGES, "gradproof")
_TYPED, _RUN = "gradproof typed", "gradproof run"
"""Of the page that is being read: the derivations in its text, and those that a directive has been given."""


def refuse(env: BuildEnvironment, message: str, where: object) -> None:
    """Say what does not stand, at `file:line`, and remember the page: the build fails, and the next one reads the page again.

    It is said by no type of warning, so that `suppress_warnings` cannot silence it.
    """
    getLogger(__name__).error("%s", " ".join(message.split()), location=where)
    _kept(env, "refused")[env.docname] = ""
    env.note_reread()


def asked(env: BuildEnvironment, *, files: bool = False) -> None:
    """Remember that the page that is being read has answers, of which judge they are, and which files they come from."""
    _kept(env, "asked")[env.docname] = _judge()
    for file in _of_users() if files else ():
        env.note_dependency(file)


def ran(env: BuildEnvironment, lines: Sequence[str], where: str) -> None:
    """Remember that a directive has been given these lines, the first of which is at `file:line`."""
    _noted(env, _RUN).append((where, _bare(lines)))


def _noted(env: BuildEnvironment, what: str) -> list[Any]:
    noted: Any = env.temp_data.setdefault(what, [])
    return noted  # type: ignore[no-any-return]


def _bare(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.strip() for line in lines if line.strip())


def _kept(env: Any, what: str) -> dict[str, str]:
    """Return what is kept of pages between builds."""
    if not hasattr(env, "gradproof_kept"):
        env.gradproof_kept = {"refused": {}, "asked": {}}
    kept: dict[str, str] = env.gradproof_kept[what]
    return kept


@cache
def _judge() -> str:
    """Return what is another text where anything of gradproof is another one."""
    digest = hashlib.sha256()
    for package in _OURS:
        home = Path(str(import_module(package).__file__)).parent
        for file in sorted(home.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _of_users() -> set[str]:
    """Return the files of imported modules, without those of Python, of installed packages and of gradproof."""
    modules = [*sys.modules.values(), *open_door("derive.verdicts.loading").modules_beside()]
    return {file for module in modules if isinstance(file := getattr(module, "__file__", None), str) and _is_users(file)}


@cache
def _is_users(file: str) -> bool:
    ours = [Path(str(import_module(package).__file__)).parent for package in _OURS]
    places = [*map(Path, sysconfig.get_paths().values()), *ours]
    return not any(Path(file).resolve().is_relative_to(place.resolve()) for place in places)


def _purge(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    for what in ("refused", "asked"):
        _kept(env, what).pop(page, None)


def _merge(app: Sphinx, env: BuildEnvironment, pages: Iterable[str], other: BuildEnvironment) -> None:
    """Take over what another process has read."""
    for what in ("refused", "asked"):
        theirs = _kept(other, what)
        _kept(env, what).update({page: theirs[page] for page in pages if page in theirs})


def _outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Return the pages whose answers are those of another gradproof."""
    return [page for page, judge in _kept(env, "asked").items() if judge != _judge()]


def _reads_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Keep the derivations of a Markdown page, and the lines that nearly open one."""
    if _is_markdown(app, Path(app.env.doc2path(page))):
        _noted(app.env, _TYPED).extend(open_door("derive.written.page").blocks(source[0]))


def _is_markdown(app: Sphinx, path: Path) -> bool:
    try:
        return path.suffix == ".md" or get_filetype(app.config.source_suffix, path) == "markdown"
    except FiletypeNotFoundError:
        return False


def _checks_the_rest(app: Sphinx, doctree: nodes.document) -> None:
    """Check what no directive was given: another dialect of Markdown sets a derivation as code, or as a sentence."""
    run = _noted(app.env, _RUN)
    given, places = Counter(lines for _, lines in run), {where for where, _ in run}
    block, reading = open_door("derive.written.block"), open_door("derive.written.page")
    page = Path(app.env.doc2path(app.env.docname))
    for found in _noted(app.env, _TYPED):
        if isinstance(found, reading.Unreadable):
            if f"{page}:{found.line + 1}" not in places:  # a footnote is read by MyST, and not by CommonMark
                refuse(app.env, str(found), (app.env.docname, found.line))
            continue
        first, lines = found
        given[_bare(lines)] -= 1
        if given[_bare(lines)] < 0:
            try:
                asked(app.env)
                block.check(lines, first)
            except (block.WrongStep, reading.Unreadable) as error:
                refuse(app.env, str(error), (app.env.docname, error.line))
    for code in doctree.findall(nodes.literal_block):
        own = _is_markdown(app, page) and Path(code.source or page) == page  # whose lines have all been read
        if reading.nearly_derivation(str(code.get("language", ""))) and not own:
            refuse(app.env, "a derivation that is set as code is not checked.", f"{code.source}:{code.line}")


def _prepares(app: Sphinx, config: Config) -> None:
    """Give the style, and make MyST read ```derivation as the directive, without braces that other readers would show."""
    config.html_static_path = [*config.html_static_path, str(STATIC)]
    if "myst_fence_as_directive" in config:
        config.myst_fence_as_directive = {*config.myst_fence_as_directive, "derivation"}


def _fails(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and _kept(app.env, "refused"):
        app.statuscode = 1


def _demand_ours(app: Sphinx) -> None:
    """See to it that the directives are ours.

    Raises
        ExtensionError, if another extension has one of the same name: then nobody would check what is typed.
    """
    for name, ours in import_module("gradproof.directives").DIRECTIVES.items():
        found = directives._directives.get(name)
        if found is not ours:
            message = f"the directive {name!r} of gradproof.sphinx is that of {found.__module__}: leave one out."
            raise ExtensionError(message)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives.

    Raises
        StandsInTheWay, an ImportError, if a module of the user has the name of one of our packages.
    """
    for package in PACKAGES:
        open_door(package)
    for name, directive in import_module("gradproof.directives").DIRECTIVES.items():
        app.add_directive(name, directive)
    app.connect("config-inited", _prepares)
    app.connect("builder-inited", _demand_ours)
    app.connect("env-get-outdated", _outdated)
    app.connect("env-purge-doc", _purge)
    app.connect("source-read", _reads_pages)
    app.connect("doctree-read", _checks_the_rest)
    app.connect("env-merge-info", _merge)
    app.connect("build-finished", _fails)
    app.add_css_file("gradproof.css")
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
