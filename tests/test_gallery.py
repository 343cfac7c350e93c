"""Each row of the gallery is the gradient of its target, to rounding, at five points; and no mistake in its code passes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

import derive
from derive.cli.main import run
from docs.gallery import page
from numeric.auditing.audit import audit
from numeric.cli.main import app
from numeric.gallery import measure
from numeric.gallery.export import exported
from numeric.gallery.measure import every, gradient_of, measured
from numeric.gallery.row import POINTS, row
from numeric.gallery.rows import GALLERY, PAGES
from numeric.testbed.groups import every_group
from numeric.testbed.match import matched
from numeric.testbed.setting import Point
from numeric.testbed.targets import TARGETS

ROWS = pytest.mark.parametrize("name", GALLERY)
CLEAR = 1e-6
"""Above this, norms are no rounding."""


def wrong_twin(found):
    """The loss of a row with the mistake that it names."""
    names = dict(vars(sys.modules[found.loss.__module__]))
    exec(compile(found.wrong_source, found.name, "exec"), names)  # noqa: S102
    return names[found.loss.__name__]


@cache
def gradient_at(target, world, seed):
    point = world.point(seed)
    return target.gradient(point, world.samples(point).theta)


@ROWS
def test_the_mean_is_the_gradient_of_the_target_times_the_factor(name):
    found = every(GALLERY[name])
    assert all(each.holds for each in found), [float((each.mean.gradient - each.expected).norm()) for each in found]


@ROWS
def test_a_baseline_is_free_where_the_row_says_so(name):
    assert all(each.baseline_free for each in every(GALLERY[name])) == GALLERY[name].baseline_free


@ROWS
def test_the_wrong_twin_is_caught(name):
    found = GALLERY[name]
    assert found.wrong_source != found.source
    for size in found.sizes:
        right = measured(found, 0, size)
        expected = right.mean.gradient if right.expected is None else right.expected
        assert float((gradient_of(wrong_twin(found), found, 0, size) - expected).norm()) > CLEAR


@pytest.mark.parametrize("name", [name for name, each in GALLERY.items() if each.target != each.aim])
def test_what_is_not_the_gradient_of_its_aim_is_no_multiple_of_it(name):
    """Nor of any other target, where it is said to be the gradient of none."""
    found = GALLERY[name]
    means = [measured(found, seed, found.sizes[0]).mean for seed in range(POINTS)]
    others = TARGETS.values() if found.target is None and isinstance(found.world.point(0), Point) else [found.aim]
    for target in others:
        gradients = [gradient_at(target, found.world, seed) for seed in range(POINTS)]
        match = matched([mean.gradient for mean in means], [mean.size for mean in means], gradients)
        assert match.verdict in ("other", "parallel"), (target.name, match)
        assert match.verdict == "other" or found.target is not None, (target.name, match)


@pytest.mark.parametrize("name", [name for name, each in GALLERY.items() if each.same_as])
def test_a_row_that_names_another_has_its_mean(name):
    found, other = GALLERY[name], GALLERY[GALLERY[name].same_as]
    for size in found.sizes:
        difference = gradient_of(found.loss, found, 0, size) - gradient_of(other.loss, found, 0, size)
        assert float(difference.norm()) < 1e-10


# Two ways to the same numbers: the testbed by its Jacobians, and the audit by forcing the draws


SOME = {name: () if at % 20 == 0 else pytest.mark.exhaustive for at, name in enumerate(GALLERY)}


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in SOME.items()])
@pytest.mark.filterwarnings("ignore:the exact gradient is zero")
def test_the_audit_of_the_same_code_finds_the_same(name):
    found = GALLERY[name]
    size = found.sizes[0]
    point = found.world.point(0)
    samples = found.world.samples(point)
    index, weights = every_group(samples, size, measure.keep(found))
    theta = samples.theta.clone().requires_grad_()
    fields = samples.named(inspect.signature(found.loss).parameters)

    def loss(n):
        groups = index[torch.multinomial(weights, n, replacement=True)]
        return torch.func.vmap(lambda given: found.loss(**given))(
            {name: field(theta)[groups] for name, field in fields.items()}
        )

    target = found.target or found.aim
    report = audit(
        loss, theta, lambda n: target.sign * target.value(point, theta).expand(n), batched=True, raise_exception=False
    )
    ours = measured(found, 0, size).mean
    torch.testing.assert_close(report.mean["theta"].reshape(-1), ours.gradient, rtol=0, atol=1e-10)
    assert float(report.variance["theta"].sum()) == pytest.approx(ours.variance, rel=1e-8, abs=1e-12)
    assert report.unbiased == (found.target is not None and found.factor(point, size) == 1)


@pytest.mark.parametrize("name", [name for name, each in GALLERY.items() if each.derivation])
def test_the_formula_of_a_row_is_proved_or_refuted_as_the_row_is(name):
    estimator = page.formula_of(GALLERY[name])
    verdict = derive.prove(estimator).verdict
    of_row = {"unbiased": "proved", "scaled": "scaled"}.get(GALLERY[name].verdict, "refuted")
    assert verdict == estimator.verdict == of_row


# What is written of them


def test_every_row_stands_on_a_page():
    assert {each.page for each in GALLERY.values()} == set(PAGES)


def test_a_row_under_a_wrong_target_is_refused():
    kept = dict(GALLERY)
    made = row("wrong", "", "", page="weights", twin=("", ""), by=1.001)(GALLERY["token-sum"].loss)
    GALLERY.clear()
    GALLERY.update(kept)
    assert not measured(made, 0, 2).holds
    assert measured(replace(made, by=1), 0, 2).holds


EXPORTED = ["token-weight", "dynamic-sampling", "best-of-k-credit", "replayed-mask-under-top-p", "routing-not-replayed"]


@pytest.mark.parametrize("names", [EXPORTED, pytest.param(list(GALLERY), marks=pytest.mark.exhaustive)], ids=["some", "all"])
def test_an_exported_test_stands_alone_and_fails_on_the_wrong_twin(names, tmp_path):
    for name in names:
        text = exported(GALLERY[name])
        assert not set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - {"itertools", "math", "torch"}
        (tmp_path / f"test_{name.replace('-', '_')}_right.py").write_text(text)
        (tmp_path / f"test_{name.replace('-', '_')}_wrong.py").write_text(
            text.replace(GALLERY[name].source, GALLERY[name].wrong_source)
        )
    command = [sys.executable, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:gradproof", "-rA", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    found = dict(reversed(line.split(" ", 1)) for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED")))
    assert len(found) == 2 * len(names), done.stdout
    for place, status in found.items():
        assert (status == "PASSED") == ("_right.py" in place), place


def test_the_pages_say_what_the_rows_measure_to():
    for name, text in page.pages().items():
        assert (Path(page.__file__).parent / name).read_text(encoding="utf-8") == text, (
            f"{name} is not up to date: make gallery"
        )


# The command


def test_the_command_finds_by_words_and_shows_by_name(capsys):
    assert run(app, ["gallery", "dynamic"]) == 0
    assert "1 - s" not in capsys.readouterr().out
    assert run(app, ["gallery", "token-weight"]) == 0
    assert "conservative policy iteration" in capsys.readouterr().out


def test_the_command_refuses_what_it_does_not_have(capsys):
    assert run(app, ["gallery", "token-wait"]) == 2
    assert "Did you mean token-weight" in capsys.readouterr().err


def test_the_command_exports_one_row_only(capsys, tmp_path):
    assert run(app, ["gallery", "clip", "--export", str(tmp_path / "test_it.py")]) == 2
    assert "give the name of one" in capsys.readouterr().err
    assert run(app, ["gallery", "token-sum", "--export", str(tmp_path / "test_it.py"), "--quiet"]) == 0
    assert "def test_token_sum" in (tmp_path / "test_it.py").read_text()


def test_an_export_leaves_a_loss_that_was_put_in_and_says_where_it_cannot_be_written(capsys, tmp_path):
    target = tmp_path / "test_it.py"
    target.write_text("mine\n")
    for path, message in [
        (target, "may hold your own loss"),
        (tmp_path, "cannot write"),
        (tmp_path / "no/it.py", "cannot write"),
    ]:
        assert run(app, ["gallery", "token-sum", "--export", str(path), "--quiet"]) == 2
        assert message in capsys.readouterr().err
    assert target.read_text() == "mine\n"
