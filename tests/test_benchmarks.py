"""What the benchmarks say is what was measured; how fast anything is, is no test."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from benchmarks import __main__ as command, exact_gradient, measuring, page, pictures, proofs
from benchmarks.measuring import Figure, Options, Row, Table, figure, once, ratio

ESTIMATOR = {"estimator": "rebar", "n x batch": "1 x 1"}


def test_the_page_is_made_of_the_results():
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.stored())
    for title, name in page.PICTURE.items():
        assert title in page.stored()
        assert (page.PICTURES / f"{name}.svg").exists()


def test_every_table_is_among_the_results_and_none_is_of_a_quick_run():
    titles = [table.title for family in command.FAMILIES.values() for table, _ in family.tables(Options())]
    assert set(titles) == set(page.stored())
    assert len(titles) == len(set(titles))
    assert not any(found["measured"].startswith("A quick run") for found in page.stored().values())


def test_what_a_large_audit_costs_is_said_by_what_was_measured():
    rows = {row["case"]["case"]: row["figures"] for row in page.stored()["Audits"]["rows"]}
    each = rows["12 bits, with a branch"]["each"]["median"]
    told = " ".join((page.HERE.parent / "docs" / "sweeps.md").read_text(encoding="utf-8").split())
    costs = f"{each * 1e9 / 86400:.1f} days", f"{each * 1e7 / 3600:.1f} hours", f"{each * 1e7 / 16 / 60:.1f} minutes"
    assert f"One process takes {each * 1e6:.0f} us for an outcome" in told
    assert all(cost in told for cost in costs)
    rows_a_second = 1 / rows["leave-one-out, 7 samples of 3 actions"]["each"]["median"]
    assert f"{rows_a_second / 1000:.0f},000 outcomes a second and more" in told


def test_a_goal_is_the_most_or_the_least():
    assert once(1.3, 1.2).missed
    assert not once(1.1, 1.2).missed
    assert once(0.9, 1.0, at_least=True).missed
    assert not once(1.1, 1.0, at_least=True).missed
    assert not once(9.0).missed


def test_a_ratio_is_taken_from_round_to_round():
    """Times that all double in one round have the ratio that they have in the others."""
    times = {"ours": [1.0, 2.0, 1.0, 1.0], "hand": [2.0, 4.0, 2.0, 2.0]}
    assert ratio(times, "ours", "hand") == Figure(0.5, 0.5, 0.5)
    assert figure([1.0, 2.0, 3.0]).median == 2.0


def test_everything_runs_in_every_round_in_turn():
    ran = []
    timers = {name: lambda repeats, name=name: ran.append(name) or 1.0 for name in "ab"}
    assert measuring.interleaved(timers, 3) == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert "".join(ran) == "aabb" + "ab" * 3


def test_a_table_has_ratios_first_and_what_misses_its_goal_in_bold():
    rows = [
        Row(ESTIMATOR, {"ours": once(2e-5, unit="s"), "ours / hand": once(1.77, 1.5)}),
        Row({"estimator": "rebar", "n x batch": "1 x 1,000"}, {"ours": once(0.5, unit="s"), "Pyro / ours": once(130.0, 1.0)}),
    ]
    assert page.markdown(Table("any", "", rows)) == [
        "| estimator | n x batch | ours / hand | Pyro / ours | ours |",
        "|---|---|--:|--:|--:|",
        "| rebar | 1 x 1 | **1.77** |  | 20.0 us |",
        "| rebar | 1 x 1,000 |  | **130** | 500 ms |",
    ]


def test_results_of_other_tables_stay_when_one_is_measured_again(tmp_path, monkeypatch):
    for name in ("RESULTS", "PAGE", "PICTURES"):
        monkeypatch.setattr(page, name, tmp_path / name)
    one, other = (Table(title, "about\n", [Row({"case": title}, {"a / b": once(2.0, 1.0)})]) for title in ("one", "other"))
    page.write([one, other], "here")
    page.write([replace(other, about="anew\n")], "there")
    found = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    assert {title: (stored["measured"], stored["about"]) for title, stored in found.items()} == {
        "one": ("here", "about\n"), "other": ("there", "anew\n"),
    }  # fmt: skip
    assert page.table_of(found["one"]) == one
    assert "**2.00**" in page.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("title", list(page.PICTURE))
def test_the_same_results_give_the_same_picture(title, tmp_path):
    drawn = []
    for name in ("a.svg", "b.svg"):
        pictures.draw(page.table_of(page.stored()[title]), tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]


def test_what_does_not_compute_the_same_is_not_timed():
    logits, w = exact_gradient.problem(3)
    table = (exact_gradient.all_bits(3) @ w).square()
    right = exact_gradient.ours(logits, w)
    exact_gradient.require_same({"a": lambda: right, "b": lambda: exact_gradient.by_doubling(logits, table)})
    with pytest.raises(SystemExit, match="a, b are not the same"):
        exact_gradient.require_same({"a": lambda: right, "b": lambda: 1.001 * right})


def test_sympy_is_given_the_claim_that_is_proved():
    assert proofs.simplified(2, 2)()
    assert proofs.by_stats(2, 2)()


def test_an_unknown_benchmark_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "prof"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no benchmark is called prof; expected proofs, exact_gradient" in capsys.readouterr().err
