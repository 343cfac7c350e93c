"""What the commands say of sweeps: in how many processes, on whose machines, and where answers are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from derive.cli.terminal import tracked_iterator
from derive.language.errors import UsageError
from derive.verdicts.sweep import Answer, Work, sweep

Jobs: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Work in N processes; -1 is one for each processor. For --all or a whole file.")
]
Results: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep each answer here as it comes, and do not do again what is here."),
]
Backend: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where joblib sends the work: loky, dask (DASK_SCHEDULER_ADDRESS says where), ray."),
]


@dataclass(frozen=True)
class Sweeping:
    """How the units of a command are done; `asked_for` where it is otherwise than one after the other, here."""

    jobs: int | None = None
    results: Path | None = None
    backend: str | None = None

    @property
    def asked_for(self) -> bool:
        return (self.jobs, self.results, self.backend) != (None, None, None)

    def refuse(self, what: str) -> None:
        """Refuse what is for many units where there is one.

        Raises
            UsageError, if anything of it was asked for.
        """
        if self.asked_for:
            message = f"--jobs, --results and --backend are for many estimators at once, as with --all; {what} is one."
            raise UsageError(message)

    def answers(self, work: Work, names: Sequence[str], *, shown: bool, doing: str) -> list[Answer]:
        """Return the answer of each unit in the order of the names, with a progress bar where somebody is looking.

        Raises
            UsageError, as `derive.verdicts.sweep.sweep`, or if there is no such backend.
        """
        with _sent_to(self.backend):
            coming = sweep(work, names, jobs=self._number, results=self.results)
            found = {answer.name: answer for answer in tracked_iterator(coming, len(names), shown=shown, doing=doing)}
        return [found[name] for name in names]

    @property
    def _number(self) -> int | None:
        if self.jobs == 0 or (self.jobs is not None and self.jobs < -1):
            message = f"--jobs takes a number of processes, or -1 for one for each processor; got {self.jobs}."
            raise UsageError(message)
        return -1 if self.jobs is None and self.backend is not None else self.jobs


@contextmanager
def _sent_to(backend: str | None) -> Iterator[None]:
    if backend is None:
        yield
        return
    try:
        import joblib

        with _registered(backend), joblib.parallel_config(backend=backend):
            yield
    except (ModuleNotFoundError, ValueError) as error:
        message = f"joblib cannot send work to {backend!r}: {error}."
        raise UsageError(message) from error


@contextmanager
def _registered(backend: str) -> Iterator[None]:
    if backend == "dask":
        from distributed import Client

        with Client():  # type: ignore[no-untyped-call]  # the scheduler of DASK_SCHEDULER_ADDRESS, else processes on this machine
            yield
        return
    if backend == "ray":
        from ray.util.joblib import register_ray

        register_ray()
    yield
