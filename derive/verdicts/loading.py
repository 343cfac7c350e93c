"""The files of a user: each is imported as the program that it is, and finds what stands beside it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from derive.catalogue import catalogue
from derive.language.errors import GradproofError, UsageError
from derive.language.estimator import Estimator

OURS = ("derive", "numeric", "gradproof")
_HOME = Path(__file__).resolve().parents[2]
_beside: dict[str, dict[str, tuple[ModuleType, int]]] = {}
"""The modules that files have imported from beside them, by folder, and when each had last changed.

Two folders may each have a `helper.py`; a verdict rests on what stands there now.
"""


def load(name: str, samples: int | None = None) -> Estimator:
    """Return an estimator of the catalogue, or the object of a user's own file, named as `path/to/file.py:object`.

    The object is an `Estimator`, or a function of the number of samples that returns one. The file is the user's own program
    and is imported as one: it finds modules beside it, and in the working directory.

    Args
        name     the catalogue name or the path
        samples  the argument of such a function, 2 by default; of an estimator, so many copies are averaged

    Raises
        UsageError, if there is no such name, file or object, if the file cannot be imported, or the object is no estimator.

    >>> load("rebar").name
    'rebar'
    """
    path, attribute = split(name)
    if path is None:
        return _with(catalogue[name], samples)
    module = user_module(path)
    if attribute is None:
        message = f"say which object of {name} is meant, as {name}:object; {_there(_estimators(module))}."
        raise UsageError(message)
    found = _attribute(module, attribute, path)
    if callable(found) and not isinstance(found, Estimator):
        found, samples = _call(found, 2 if samples is None else samples, name, path), None
    if not isinstance(found, Estimator):
        message = f"{name} is a {type(found).__name__}; expected an Estimator, or a function of the number of samples."
        raise UsageError(message)
    return _with(found, samples)


def load_all(name: str, samples: int | None = None) -> dict[str, Estimator]:
    """Return what `load` returns, by its name; of a file without `:object`, every estimator under its name in the file.

    Raises
        UsageError, as `load`, or if the file has no estimator.

    >>> list(load_all("rebar"))
    ['rebar']
    """
    path, attribute = split(name)
    if path is None or attribute is not None:
        return {name: load(name, samples)}
    found = _estimators(user_module(path))
    if not found:
        message = f"{name} has no estimators; expected a derive.Estimator under a name of its own."
        raise UsageError(message)
    return {f"{name}:{each}": _with(estimator, samples) for each, estimator in found.items()}


def split(name: str) -> tuple[Path | None, str | None]:
    """Return the path and the object of `path/to/file.py:object`; of a file alone no object, of another name no path.

    >>> split("a/b.py:c"), split("a/b.py"), split("rebar")
    ((PosixPath('a/b.py'), 'c'), (PosixPath('a/b.py'), None), (None, None))
    """
    if name.endswith(".py"):
        return Path(name), None
    path, colon, attribute = name.rpartition(":")
    return (Path(path), attribute) if colon else (None, None)


def user_module(path: Path) -> ModuleType:
    """Import a file of the user as the program that it is.

    Raises
        UsageError, if there is no such file, it cannot be imported, or a module beside it has the name of one of ours.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, also where the name is too long
        message = f"there is no file {path}."
        raise UsageError(message)
    _refuse_a_namesake(path)
    spec = importlib.util.spec_from_file_location(f"_gradproof_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        message = f"{path} is no Python file."
        raise UsageError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with as_user(path, f"{path} cannot be imported"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def as_user(path: Path, failed: str) -> Iterator[None]:
    """Run code of a user's file: what stands beside the file, or in the working directory, can be imported meanwhile.

    Args
        failed   how the message begins, if the code fails

    Raises
        UsageError, if the code raises anything but a GradproofError, or ends the process.
    """
    try:
        with _importable(path.resolve().parent):
            yield
    except GradproofError:
        raise
    except SystemExit as error:
        message = f"{failed}: it has ended the process, by sys.exit({error.code!r}) or the like."
        raise UsageError(message) from error
    except Exception as error:
        looked = _looked(path) if isinstance(error, ImportError) else ""
        message = f"{failed}: {type(error).__name__}: {error}{looked}"
        raise UsageError(message) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Put a folder and the working directory first on the path, and the modules of the folder among the imported ones."""
    places, before, own = [str(folder), str(Path.cwd())], set(sys.modules), _beside.setdefault(str(folder), {})
    if sys.path[:2] == places:
        yield
        return
    if any(changed != _changed(module) for module, changed in own.values()):
        own.clear()  # all of them, since they hold each other
    hidden = {name: sys.modules[name] for name in own if name in sys.modules}
    sys.path[:0] = places
    sys.modules.update({name: module for name, (module, _) in own.items()})
    try:
        yield
    finally:
        for place in places:
            if place in sys.path:  # what the file itself has changed there stays
                sys.path.remove(place)
        new = {name: module for name, module in sys.modules.items() if name not in before and _stands_in(folder, name)}
        own.update({name: (module, _changed(module)) for name, module in new.items() if name not in own})
        for name in own:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def modules_beside() -> list[ModuleType]:
    """Return the modules that files of users have imported from beside them, which are kept out of `sys.modules`."""
    return [module for modules in _beside.values() for module, _ in modules.values()]


def _changed(module: ModuleType) -> int:
    try:
        return os.stat(str(module.__file__)).st_mtime_ns
    except OSError:
        return 0  # of a package without a file, or a file that is gone


def _stands_in(folder: Path, name: str) -> bool:
    top = name.partition(".")[0]
    spec = getattr(sys.modules.get(top), "__spec__", None)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    stands = {folder / f"{top}.py", folder / top, folder / top / "__init__.py"}
    return top not in OURS and any(place is not None and Path(place) in stands for place in places)


def _looked(path: Path) -> str:
    """Say where an import looked."""
    return f" (looked beside the file in {path.resolve().parent}, in the working directory {Path.cwd()}, and in sys.path)"


def _refuse_a_namesake(path: Path) -> None:
    """Refuse a file that would import ours under the name of the user's own module, or the other way round.

    Raises
        UsageError, if a module beside the file, or in the working directory, has the name of one of our packages.
    """
    for folder in dict.fromkeys((path.resolve().parent, Path.cwd())):
        for name in OURS if not _is_gradproof(folder) else ():
            spec = PathFinder.find_spec(name, [str(folder)])
            if spec is not None and spec.origin is not None:
                message = f"{spec.origin} stands in the way of the package {name!r} of gradproof: rename it, or run elsewhere."
                raise UsageError(message)


def _is_gradproof(folder: Path) -> bool:
    return folder == _HOME or all((folder / name / "__init__.py").is_file() for name in OURS)


def _estimators(module: ModuleType) -> dict[str, Estimator]:
    """The estimators of a module, each under the first of its names."""
    return members(module, Estimator)


def members(module: ModuleType, kind: type[Any]) -> dict[str, Any]:
    """Return what a module has of a kind, each under the first of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for name, value in vars(module).items():
        if isinstance(value, kind):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _there(found: dict[str, Estimator]) -> str:
    return f"it has {', '.join(found)}" if found else "it has no estimators"


def _with(estimator: Estimator, samples: int | None) -> Estimator:
    return estimator if samples is None else estimator.with_samples(samples)


def _attribute(module: ModuleType, attribute: str, path: Path) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    estimators = list(_estimators(module))
    near = get_close_matches(attribute, estimators, n=3, cutoff=0.4) or estimators
    message = f"{path} has no {attribute!r}; " + (f"did you mean {', '.join(near)}?" if near else "it has no estimators.")
    raise UsageError(message)


def _call(found: Callable[..., Any], samples: int, name: str, path: Path) -> Any:
    with as_user(path, f"{name}({samples}) failed"):
        return found(samples)
