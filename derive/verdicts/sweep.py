"""Many units of work, each known by a name: in processes, on other machines, with answers that are kept as they come."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

from derive.language.errors import GradproofError, UsageError
from derive.verdicts.loading import OURS, split

Work: TypeAlias = Callable[[str], Any]
MOST_BROKEN = 3
_HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What one unit came to.

    Args
        name     the unit
        value    what the work returned, a JSON value
        error    why there is no value, "" where there is one
    """

    name: str
    value: Any = None
    error: str = ""


def sweep(work: Work, names: Sequence[str], *, jobs: int | None = None, results: Path | None = None) -> Iterator[Answer]:
    """Do a work for each name, and yield the answers as they come.

    Without `jobs` it is done here, one name after the other, unless joblib has been told otherwise: inside of
    `joblib.parallel_config(backend="dask")` the units go where that sends them. Units are independent and may be done twice, so
    one that is lost with its process is done again.

    Args
        work      an importable function of a name that returns a JSON value, or `functools.partial` of one
        names     catalogue names, `path/to/file.py:object`, `path/to/problem.json`, or whatever else the work takes
        jobs      how many processes, in the terms of joblib: -1 is one for each processor
        results   a folder where each answer is kept, as it comes, in a file of its own; what is there is not done again. A name
                  of a file counts as changed when that file has, or a module or package beside it or in the working directory,
                  one of a JSON file when that has; every name when gradproof has

    Raises
        UsageError, if joblib is needed and not installed, if the folder cannot be written, or if processes end without an
        answer again and again.

    >>> from derive.verdicts.sweep import proved
    >>> [(answer.name, answer.value["verdict"]) for answer in sweep(proved, ["score-function", "straight-through"])]
    [('score-function', 'proved'), ('straight-through', 'refuted')]
    """
    kept = None if results is None else Kept(results, work)
    left = dict.fromkeys(names)
    for name in [name for name in left if kept is not None and name in kept]:
        del left[name]
        yield Answer(name, kept.read(name))  # type: ignore[union-attr]
    for answer in _done(work, left, jobs):
        if kept is not None and not answer.error:
            kept.write(answer)
        yield answer


def _done(work: Work, left: dict[str, None], jobs: int | None) -> Iterator[Answer]:
    """Yield the answers of all names, and go on with those that are left where a process has ended without an answer."""
    broken = 0
    while left:
        try:
            for answer in _answers(work, list(left), jobs):
                del left[answer.name]
                broken = 0
                yield answer
        except BrokenExecutor as error:
            broken += 1
            if broken == MOST_BROKEN:
                message = f"processes ended {broken} times in a row, perhaps for want of memory; not done: {', '.join(left)}."
                raise UsageError(message) from error


def _answers(work: Work, names: list[str], jobs: int | None) -> Iterator[Answer]:
    if jobs is None and "joblib" not in sys.modules:
        return map(partial(answer_of, work), names)
    try:
        import joblib
    except ModuleNotFoundError as error:
        message = f"a sweep in {jobs} processes needs joblib, which is not installed; pip install joblib."
        raise UsageError(message) from error
    calls = (joblib.delayed(answer_of)(work, name) for name in names)
    found: Iterator[Answer] = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    return found


def answer_of(work: Work, name: str) -> Answer:
    """Do one unit; what a user can cause is an answer, so that it keeps no other unit from its own.

    >>> from derive.verdicts.sweep import proved
    >>> answer_of(proved, "no-such-name").error[:22]
    'no estimator is called'
    """
    try:
        return Answer(name, work(name))
    except GradproofError as error:
        return Answer(name, error=str(error) or type(error).__name__)


def proved(name: str, *, samples: int | str | None = None, **options: Any) -> dict[str, Any]:
    """Return what `derive.prove` says of an estimator by its name, in the form of the contract.

    Args
        name      as for `derive.load`
        samples   as for `derive.prove`
        options   as for `derive.prove`
    """
    from derive.verdicts.loading import load
    from derive.verdicts.prover import prove

    if isinstance(samples, str):
        return prove(load(name), samples=samples, **options).to_json()
    return prove(load(name, samples), **options).to_json()


# Answers that are kept


class Kept:
    """A folder of answers, one file each, under a name that changes with everything on which the answer depends."""

    folder: Path
    work: Work

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.work = folder, work
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot keep results in {folder}: {error.strerror or error}."
            raise UsageError(message) from error

    def __contains__(self, name: str) -> bool:
        try:
            self.read(name)
        except (OSError, ValueError, KeyError):
            return False
        return True

    def read(self, name: str) -> Any:
        """Return the answer that is kept under a name.

        Raises
            OSError, ValueError, KeyError, if there is none, or half of one.
        """
        return json.loads(self.path(name).read_text(encoding="utf-8"))["answer"]

    def write(self, answer: Answer) -> None:
        """Keep an answer: another reader sees the whole of it or nothing.

        Raises
            UsageError, if it cannot be written.
        """
        path = self.path(answer.name)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps({"name": answer.name, "answer": answer.value}, indent=1), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            message = f"cannot keep a result in {self.folder}: {error.strerror or error}."
            raise UsageError(message) from error

    def path(self, name: str) -> Path:
        """Return the file of a name."""
        facts = [_ours(), _described(self.work), name, _data(name) or _sources(split(name)[0])]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[-60:]}-{digest}.json"


def _described(work: Work) -> list[str]:
    if isinstance(work, partial):
        return [*_described(work.func), repr(work.args), repr(sorted(work.keywords.items()))]
    return [work.__module__, work.__qualname__]


def _sources(path: Path | None) -> list[tuple[str, str]]:
    """Return what stands in a file of the user and in what it may import: modules and packages beside it and where we are."""
    if path is None:
        return []
    folders = {path.resolve().parent, Path.cwd()}
    packages = {init.parent for folder in folders for init in folder.glob("*/__init__.py")}
    found = {module for folder in folders for module in folder.glob("*.py")}
    found |= {module for package in packages for module in package.rglob("*.py")}
    return [(str(each), _digest(each)) for each in sorted(found)]


def _data(name: str) -> list[tuple[str, str]]:
    """Return what stands in a file of data, where the name is that of one."""
    return [(name, _digest(Path(name)))] if name.endswith(".json") and os.path.isfile(name) else []


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _ours() -> str:
    """Return a digest of gradproof itself."""
    files = sorted(path for package in OURS for kind in ("py", "json") for path in (_HOME / package).rglob(f"*.{kind}"))
    return hashlib.sha256("".join(map(_digest, files)).encode()).hexdigest()
