"""Who tests the tests: every single mistake of a list, in every formula and in all generated code, against every check.

Run `python -m docs.mutants.study` from the root of the repository (`make mutants`); it writes results.json and README.md beside
this file, and fails if a mutant survives or two readings disagree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from derive.catalogue import catalogue, folder_of
from derive.cli.sweeps import Sweeping
from derive.estimator import Estimator
from derive.language.errors import GradproofError, UsageError
from derive.language.term import NormalLaw, UniformLaw
from derive.verdicts.sweep import Kept, Work
from docs.mutants import checks, formulas, page, proofs, sources
from docs.mutants.checks import KILLED, PASSED, REFUSED, Finding, Subject
from numeric.codegen.torchgen import usual_families

HERE = Path(__file__).parent
CROSSCHECKED_ONLY = {"rebar-variance-eta", "rebar-variance-lambda", "relax-variance-phi"}
"""A thousand mutants with heavy-tailed estimates: only those are sampled that cannot be compared exactly."""
OTHER_THAN_MEAN = {"variance", checks.LAW}
REFUTED = {"refuted", "scaled", "other-target"}


@dataclass(frozen=True)
class Job:
    """All mutants of one estimator, in its formula ("formula") or in the code for a family."""

    name: str
    family: str


def subjects() -> list[Estimator]:
    """The estimators that are right as they are, of families without a folder; of wrong ones every check says so already."""
    return [estimator for name, estimator in catalogue.items() if estimator.verdict == "proved" and not folder_of(name)]


def jobs() -> list[Job]:
    """One for each formula, and one for each family of its code."""
    found = [Job(estimator.name, "formula") for estimator in subjects()]
    return found + [Job(estimator.name, family) for estimator in subjects() for family in usual_families(estimator)]


def digest(job: Job) -> str:
    """Of the code that is judged: the rows of a job are about this code and no other.

    >>> digest(Job("score-function", "bernoulli")) == digest(Job("score-function", "categorical"))
    False
    """
    source = checks.subject_of(catalogue[job.name], job.family).generated.source
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def digests(wanted: Sequence[Job]) -> dict[str, str]:
    """That of each job about code."""
    return {f"{job.name} ({job.family})": digest(job) for job in wanted if job.family != "formula"}


def run(job: Job) -> list[dict[str, Any]]:
    """Return one row for each mutant."""
    torch.set_num_threads(1)
    return list(_formula_rows(job) if job.family == "formula" else _code_rows(job))


def _formula_rows(job: Job) -> Iterator[dict[str, Any]]:
    original = catalogue[job.name]
    right = checks.subject_of(original, usual_families(original)[0])
    for mutant in formulas.mutants(original):
        verdict = proofs.verdict(mutant.estimator)
        findings = _formula_findings(mutant.estimator, right)
        findings["derive"] = Finding(KILLED if verdict in REFUTED else PASSED if verdict == "proved" else REFUSED, verdict)
        proof = "" if verdict != "proved" and _killers(findings) else proofs.formula_proof(mutant.estimator)
        yield _row(job, mutant.kind, mutant.change, findings, proof)


def _formula_findings(mutant: Estimator, original: Subject) -> dict[str, Finding]:
    """What the checks say about the code of a formula, in the first family that it is about."""
    try:
        subject = checks.subject_of(mutant, original.family)
    except GradproofError as error:
        return {name: Finding(REFUSED, f"no code: {error}"[:120]) for name in checks.CHECKS}
    return _findings(subject, original)


def _code_rows(job: Job) -> Iterator[dict[str, Any]]:
    original = checks.subject_of(catalogue[job.name], job.family)
    for mutant in sources.mutants(original.generated.source):
        findings = _findings(original.mutated(mutant.source), original)
        proof = "" if _killers(findings) and not _by_nodes_alone(findings) else proofs.code_proof(mutant, original)
        if proof.startswith(checks.MIRRORED) and _by_nodes_alone(findings):
            findings["crosscheck"] = Finding(REFUSED, "its nodes are split where u jumps, and this code jumps at 1 - u")
        if not proof and not _killers(findings):
            subject = original.mutated(mutant.source)
            findings["sequential test"] = checks.judge("sequential test", subject, original, samples=checks.LONG)
        yield _row(job, mutant.kind, mutant.change, findings, proof)


def _by_nodes_alone(findings: dict[str, Finding]) -> bool:
    """Whether the crosscheck found another mean at its nodes, and the sequential test none in many samples."""
    by_nodes = findings["crosscheck"].verdict == KILLED and findings["crosscheck"].how == checks.NODES
    return by_nodes and "sequential test" in findings and findings["sequential test"].verdict == PASSED


def _findings(subject: Subject, original: Subject) -> dict[str, Finding]:
    """Every check; what the crosscheck rejects is sampled until it is seen, and an audit by quadrature is not repeated."""
    said = {"crosscheck": checks.judge("crosscheck", subject, original), "oracle": checks.judge("oracle", subject, original)}
    if original.estimator.name in CROSSCHECKED_ONLY and said["crosscheck"].verdict != REFUSED:
        return said
    seen = said["crosscheck"].verdict == KILLED
    for samples in (checks.SAMPLES, checks.LONG) if seen else (checks.SHORT,):
        said["sequential test"] = checks.judge("sequential test", subject, original, samples=samples)
        if said["sequential test"].verdict != PASSED:
            break
    if _audits(original.estimator):
        said["audit"] = checks.judge("audit", subject, original)
    else:
        said["audit"] = Finding(REFUSED, "not run: quadrature takes minutes")
    return said


def _audits(estimator: Estimator) -> bool:
    """Not by quadrature over noise that decides an outcome, or over several draws: that takes minutes."""
    laws = [type(draw.law) for draw in estimator.draws]
    return UniformLaw not in laws and (len(laws) == 1 or NormalLaw not in laws)


def _killers(findings: dict[str, Finding]) -> list[str]:
    """The checks that found another mean; some see by the variance or the law of the draws what is equivalent in the mean."""
    return sorted(name for name, one in findings.items() if one.verdict == KILLED and one.how not in OTHER_THAN_MEAN)


def _is_no_number(findings: dict[str, Finding]) -> bool:
    """Whether a mistake leaves no estimator, as where it takes the logarithm of a difference: there is no mean to be found."""
    return findings["crosscheck"].verdict == REFUSED and "is no number" in findings["crosscheck"].how


def _row(job: Job, kind: str, change: str, findings: dict[str, Finding], proof: str) -> dict[str, Any]:
    killers = _killers(findings)
    proved = bool(proof) and not proof.startswith("NOT READ")
    killed = bool(killers) or any(one.how == checks.LAW for one in findings.values())
    without = "no number" if _is_no_number(findings) else "survived"
    status = "disagreement" if proved and killers else "equivalent" if proved else "killed" if killed else without
    return {
        "estimator": job.name, "family": job.family, "kind": kind, "change": change, "status": status, "proof": proof,
        "checks": {name: one.verdict for name, one in findings.items()},
        "how": {name: one.how for name, one in findings.items() if one.how},
        "samples": findings["sequential test"].samples if "sequential test" in killers else 0,
    }  # fmt: skip


def judged(name: str, *, study: str) -> list[dict[str, Any]]:
    """Return the rows of the job of a name: a work for `derive.sweep`.

    Args
        name   of the estimator and of the family, as "rebar formula"
        study  what the rows depend on beside gradproof, see `version`
    """
    if study != version():
        message = "the study has changed while it was running: start it again."
        raise UsageError(message)
    return run(Job(*name.split()))


def version() -> str:
    """Return a digest of the files of this study, on which its rows depend."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))).hexdigest()[:16]


def rows_of(wanted: Sequence[Job], sweeping: Sweeping) -> list[dict[str, Any]]:
    """Return the rows of all jobs, in their order, however they were swept.

    Raises
        UsageError, where a job has none, saying why; as `derive.sweep`.
    """
    answers = sweeping.answers(work(), list(map(name_of, wanted)), shown=True, doing="mutants")
    for answer in answers:
        if answer.error:
            message = f"{answer.name}: {answer.error}"
            raise UsageError(message)
    return [row for answer in answers for row in answer.value]


def work() -> Work:
    return partial(judged, study=version())


def name_of(job: Job) -> str:
    return f"{job.name} {job.family}"


def is_kept(job: Job, results: Path | None) -> bool:
    """Whether the rows of a job are in a folder of results, and are about this code."""
    return results is not None and name_of(job) in Kept(results, work())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="estimators; by default all")
    parser.add_argument("--jobs", type=int, default=2, help="processes; -1 is one for each processor")
    parser.add_argument("--results", type=Path, help="a folder for the rows of finished jobs: what is there is not done again")
    parser.add_argument("--backend", help="where joblib sends the jobs: loky, dask, ray")
    parser.add_argument("--assemble", action="store_true", help="run nothing: write the page from the results")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="the folder to write into")
    given = parser.parse_args(arguments)
    wanted = [job for job in jobs() if not given.names or job.name in given.names]
    if given.assemble:
        wanted = [job for job in wanted if is_kept(job, given.results)]
    missing = [f"{job.name} ({job.family})" for job in jobs() if job not in wanted]
    try:
        rows = rows_of(wanted, Sweeping(given.jobs, given.results, given.backend))
    except UsageError as error:
        raise SystemExit(str(error)) from error
    found = page.summary(rows, missing) | {"sources": digests(wanted)}
    (given.output / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.output / "README.md").write_text(page.text(found), encoding="utf-8")
    if found["wrong"]:
        lines = [f"{one['status']}: {one['estimator']} ({one['family']}) {one['change']}" for one in found["wrong"]]
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    from docs.mutants import study

    study.main()  # by its name, under which processes find its work
