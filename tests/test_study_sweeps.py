"""The study of mutants and the pages of the gallery are swept: the same from any number of processes, nothing done twice."""

from __future__ import annotations

import json

import pytest

from derive.cli.sweeps import Sweeping
from derive.language.errors import UsageError
from derive.verdicts.sweep import sweep
from docs.gallery import page
from docs.mutants import study
from docs.mutants.study import Job
from numeric.gallery import facts
from numeric.gallery.rows import GALLERY

WANTED = [Job("score-function", "formula"), Job("constant-baseline", "formula")]
ROWS = ["token-weight", next(iter(GALLERY))]


def of(job):
    return [{"estimator": job.name, "family": job.family}]


@pytest.fixture
def ran(monkeypatch):
    """The jobs that were run, each in no time."""
    found = []
    monkeypatch.setattr(study, "run", lambda job: found.append(job) or of(job))
    return found


@pytest.mark.exhaustive
def test_the_rows_of_mutants_are_the_same_from_any_number_of_processes(tmp_path):
    here = study.rows_of(WANTED[:1], Sweeping())
    assert len(here) > 2
    assert study.rows_of(WANTED[:1], Sweeping(2, tmp_path)) == here
    assert study.rows_of(WANTED[:1], Sweeping(1, tmp_path)) == here


def test_a_study_that_was_interrupted_goes_on_where_it_stopped(tmp_path, monkeypatch):
    begun = []

    def once(job):
        begun.append(job)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return of(job)

    monkeypatch.setattr(study, "run", once)
    with pytest.raises(KeyboardInterrupt):
        study.rows_of(WANTED, Sweeping(results=tmp_path))
    assert [study.is_kept(job, tmp_path) for job in WANTED] == [True, False]
    assert study.rows_of(WANTED, Sweeping(results=tmp_path)) == of(WANTED[0]) + of(WANTED[1])
    assert begun == [WANTED[0], WANTED[1], WANTED[1]]


def test_a_study_whose_files_have_changed_is_run_anew(ran, tmp_path, monkeypatch):
    study.rows_of(WANTED, Sweeping(results=tmp_path))
    study.rows_of(WANTED, Sweeping(results=tmp_path))
    assert ran == WANTED
    monkeypatch.setattr(study, "version", lambda: "another")
    study.rows_of(WANTED, Sweeping(results=tmp_path))
    assert ran == WANTED * 2
    with pytest.raises(UsageError, match="has changed while it was running"):
        study.judged("score-function formula", study="a third")


def test_the_page_of_what_is_kept_names_what_is_missing(ran, tmp_path, monkeypatch):
    written = {"wrong": [], "sources": {}}
    monkeypatch.setattr(study.page, "summary", lambda rows, missing: written | {"rows": rows, "missing": missing})
    monkeypatch.setattr(study.page, "text", lambda found: "")
    study.rows_of(WANTED[:1], Sweeping(results=tmp_path / "kept"))
    study.main(["--assemble", "--jobs", "1", "--results", str(tmp_path / "kept"), "-o", str(tmp_path)])
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (found["rows"], ran) == (of(WANTED[0]), WANTED[:1])
    assert len(found["missing"]) == len(study.jobs()) - 1


def test_a_job_that_cannot_be_judged_is_named(tmp_path, monkeypatch):
    def refused(job):
        message = "no code."
        raise UsageError(message)

    monkeypatch.setattr(study, "run", refused)
    with pytest.raises(SystemExit, match="score-function formula: no code"):
        study.main(["score-function", "--jobs", "1", "-o", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive
def test_what_a_row_of_the_gallery_measures_to_is_the_same_from_any_number_of_processes(tmp_path):
    here = {answer.name: answer.value for answer in sweep(facts.measured_row, ROWS)}
    there = {answer.name: answer.value for answer in sweep(facts.measured_row, ROWS, jobs=2, results=tmp_path)}
    assert here == there
    assert here["token-weight"]["facts"] == facts.facts(GALLERY["token-weight"])


def test_the_pages_of_the_gallery_are_written_from_what_is_kept(tmp_path, monkeypatch):
    first = page.pages(Sweeping(results=tmp_path))
    monkeypatch.setattr(facts, "facts", lambda row: {}[row.name])
    assert page.pages(Sweeping(results=tmp_path)) == first


def test_no_row_is_measured_under_another_name():
    (answer,) = sweep(facts.measured_row, ["no-such-row"])
    assert "no row of the gallery is called 'no-such-row'" in answer.error
