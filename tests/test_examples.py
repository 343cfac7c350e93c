"""Every example of docs/examples runs, and what it prints is what it claims."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import derive

FOLDER = Path(__file__).parent.parent / "docs" / "examples"
TESTED_ELSEWHERE = {
    "moving_average", "audit_batched", "audit_gumbel", "audit_leave_one_out", "ppo", "actor_critic", "dreg",
}  # fmt: skip


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(module, capsys):
    module.main()
    return capsys.readouterr().out


def test_every_example_is_run_by_a_test():
    here = {"demo", "concrete_temperature", "importance_bounds", "multi_sample", "words"}
    assert {path.stem for path in FOLDER.glob("*.py")} == here | TESTED_ELSEWHERE


def test_the_demo_proves_rebar_and_its_code_is_within_its_error_of_the_exact_gradient(capsys, monkeypatch):
    demo = example("demo")
    monkeypatch.setattr(demo, "BATCH", 20_000)
    monkeypatch.setattr(demo, "BATCHES", 2)
    monkeypatch.setattr(demo, "STEPS", 40)
    out = printed(demo, capsys)
    assert "rebar is proved" in out
    assert "agrees" in out
    rows = [[float(value) for value in line.split()] for line in out.splitlines() if len(line.split()) == 5 and "0." in line]
    assert len(rows) == len(demo.LOGITS)
    for _, exact, estimated, error, without in rows:
        assert abs(exact - estimated) < 5 * error
        assert error < without


def test_the_concrete_bias_falls_to_its_limit_and_the_variance_rises(capsys):
    rows = [line.split() for line in printed(example("concrete_temperature"), capsys).splitlines()[3:]]
    *table, limit = rows
    ratios, scaled = [float(row[2]) for row in table], [float(row[4]) for row in table]
    assert sorted(ratios, reverse=True) == ratios
    assert sorted(scaled) == scaled
    assert ratios[-1] == pytest.approx(float(limit[2]), rel=0.01)
    assert scaled[-1] == pytest.approx(float(limit[4]), rel=0.01)


def test_the_importance_bounds_rise_to_the_evidence(capsys):
    rows = [line.split() for line in printed(example("importance_bounds"), capsys).splitlines()[3:]]
    gaps = [float(row[1]) for row in rows]
    assert sorted(gaps, reverse=True) == gaps
    assert all("False" not in row for row in rows)


@pytest.mark.parametrize("name", ["own_sample_baseline", "group_mean", "leave_one_out"])
def test_the_estimators_of_several_samples_get_the_verdicts_that_they_declare(name):
    estimator = derive.load(f"{FOLDER / 'multi_sample.py'}:{name}")
    assert derive.prove(estimator, outcomes=(2,)).verdict == estimator.verdict


@pytest.mark.parametrize("name", ["central_difference", "wrong_parameter"])
def test_what_is_not_proved_gets_the_word_that_it_declares(name):
    estimator = getattr(example("words"), name)
    assert derive.prove(estimator).verdict == estimator.verdict
