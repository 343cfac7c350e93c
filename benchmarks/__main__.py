"""Measure, print the tables, and put them among the results where asked.

python -m benchmarks [NAME ...] [--quick] [--device cuda] [--before COMMIT] [--write]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType

import torch

from benchmarks import audit, estimators, exact_gradient, page, proofs, sequential_test, start_up
from benchmarks.by_hand import settle
from benchmarks.measuring import Options, Row, Table, machine

FAMILIES: dict[str, ModuleType] = {
    "proofs": proofs,
    "exact_gradient": exact_gradient,
    "estimators": estimators,
    "audit": audit,
    "start_up": start_up,
    "sequential_test": sequential_test,
}
Measured = Callable[[Options], Iterator[tuple[Table, Iterator[Row]]]]


def measured(names: list[str], options: Options) -> Iterator[Table]:
    """Yield the tables, each when it is complete; its rows are said as they come."""
    for name in names:
        tables: Measured = FAMILIES[name].tables
        for table, rows in tables(options):
            print(f"\n## {table.title}\n", file=sys.stderr)
            for row in rows:
                found = "; ".join(f"{key} {page.text(figure)}" for key, figure in row.figures.items())
                print(f"{', '.join(filter(None, row.case.values()))}: {found}", file=sys.stderr, flush=True)
                table.rows.append(row)
            yield table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAMILIES)}; by default all")
    parser.add_argument("--quick", action="store_true", help="few rounds, small cases: about a minute")
    parser.add_argument("--device", default="cpu", help="where generated estimators run: cpu, cuda")
    parser.add_argument("--before", default="", metavar="COMMIT", help="measure generated code of this commit in the same run")
    parser.add_argument("--write", action="store_true", help="put the tables among the results, which are committed")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in FAMILIES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; expected {', '.join(FAMILIES)}.")
    options = Options(given.quick, given.device, given.before)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    settle()
    tables = list(measured(given.names or list(FAMILIES), options))
    where = f"{'A quick run on' if options.quick else 'On'} {machine(options.device)}"
    where += f"; before: {options.before}" if options.before else ""
    for table in tables:
        print("\n".join([f"\n## {table.title}\n", *page.markdown(table)]))
    print(f"\n{where}; in bold where a goal is missed")
    if given.write:
        page.write(tables, where)


if __name__ == "__main__":
    main()
