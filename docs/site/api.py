"""The reference of the public names: what `__all__` says, in its order; the text is that of the docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

from docs.templates import filled

TEMPLATES = Path(__file__).parent / "templates"
MODULES = ("derive", "derive.notation", "derive.strategies", "numeric", "numeric.testbed")


_PAGES = ("text", "markdown", "latex", "html", "testbed")  # modules, which have a page of their own or none


def directive(value: object) -> str:
    """Return the directive that documents a public name; what is plain data has no docstring of its own.

    >>> import derive
    >>> directive(derive.prove), directive(derive.Verdict), directive(derive.catalogue), directive({})
    ('autofunction', 'autoclass', 'autodata', 'py:data')
    """
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    if callable(value):
        return "autofunction"
    return "autodata" if type(value).__module__.startswith(("derive", "numeric")) else "py:data"


def public(module: str) -> dict[str, object]:
    """Return the public names of a module: of a package what it lists, of a single file what it hands on.

    >>> list(public("derive"))[:3], "grad" in public("derive.notation")
    (['Estimator', 'catalogue', 'load'], True)
    """
    found = import_module(module)
    listed = getattr(found, "__all__", None) or [name for name in vars(found) if _is_ours(found, name)]
    return {name: getattr(found, name) for name in listed if name not in _PAGES}


def _is_ours(module: object, name: str) -> bool:
    value = getattr(module, name)
    return not name.startswith("_") and callable(value) and str(getattr(value, "__module__", "")).startswith("derive")


def write(source: Path) -> int:
    """Write a page for each module, with what stands on no page before it; return the number of names on them."""
    folder = source / "api"
    folder.mkdir(parents=True, exist_ok=True)
    seen: list[object] = []
    for module in MODULES:
        new = {name: value for name, value in public(module).items() if not any(value is other for other in seen)}
        seen += new.values()
        facts = {"module": module, "names": {name: directive(value) for name, value in new.items()}}
        (folder / f"{module}.rst").write_text(filled(TEMPLATES / "api.rst.jinja", facts), encoding="utf-8")
    return len(seen)
