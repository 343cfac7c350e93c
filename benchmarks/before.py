"""The generated code of an earlier commit, measured in a process of its own, in turn with ours.

Run as a script, with the packages of that commit first on the path, this is that process: it reads what to time, line by line,
and writes the seconds. Of this folder it needs `by_hand.py` only.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.measuring import Timer

HERE = Path(__file__).parent


class Before:
    """A process with the packages of an earlier commit."""

    def __init__(self, asks: IO[str], answers: IO[str]) -> None:
        self._asks, self._answers = asks, answers

    def _asked(self, **question: Any) -> float:
        print(json.dumps(question), file=self._asks, flush=True)
        answer = self._answers.readline()
        if not answer:
            message = f"the process with the earlier commit has ended at {question}."
            raise RuntimeError(message)
        return float(answer)

    def timer(self, name: str, n: int, batch: int) -> Timer:
        """Return what times the compiled estimator of a name."""
        return lambda repeats: self._asked(name=name, n=n, batch=batch, repeats=repeats)


@contextlib.contextmanager
def packages_of(commit: str) -> Iterator[Before | None]:
    """Check an earlier commit out, beside this one, and start a process with it; None without a commit."""
    if not commit:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", root, commit], check=True, cwd=HERE)
        try:
            script = [sys.executable, str(Path(__file__))]
            env = os.environ | {"PYTHONPATH": root}
            with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
                if process.stdin is None or process.stdout is None:
                    message = "a process without pipes cannot be asked."
                    raise RuntimeError(message)
                yield Before(process.stdin, process.stdout)
                process.stdin.close()
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", root], check=True, cwd=HERE)


def main() -> None:
    """Answer with the seconds of one call, for each line."""
    import time
    import warnings

    import by_hand  # beside this file
    import torch

    import numeric
    from derive.catalogue import catalogue
    from derive.catalogue.leave_one_out import leave_one_out

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    by_hand.settle()
    known: dict[tuple[str, int, int], by_hand.Run] = {}
    for line in sys.stdin:
        ask = json.loads(line)
        key = name, n, batch = ask["name"], ask["n"], ask["batch"]
        if key not in known:
            estimator = leave_one_out(by_hand.K) if name == "leave-one-out" else catalogue[name]
            compiled = numeric.compile(estimator)
            params = by_hand.params_of(n, batch, "cpu", normal=compiled.family == "normal")
            given, g = by_hand.keywords(name, params), torch.Generator().manual_seed(0)
            known = {key: lambda call=compiled, p=params, g=g, k=given: call(p, by_hand.f, generator=g, **k)}
        start = time.process_time()
        for _ in range(ask["repeats"]):
            known[key]()
        print((time.process_time() - start) / ask["repeats"], flush=True)


if __name__ == "__main__":
    main()
