"""Every equation of the notes has a record, every verdict follows from its checks, and no other verdict would."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from derive.catalogue import catalogue
from derive.cli.main import run
from derive.kernel import theorem as kernel
from derive.language.term import lift
from derive.laws.models import RationalCase
from derive.notation import E, finite, function, grad, parameter, score, uniform
from derive.proofs.rules import algebra, pathwise
from derive.written.block import WrongStep, check
from derive.written.page import blocks
from docs.notes import cases, checks, pages
from docs.notes.statement import (
    CHECKERS,
    HOLDS,
    ILL,
    UNDER,
    VERDICTS,
    WRONG,
    Evidence,
    Pen,
    UnsupportedVerdict,
    judge,
    verdict_of,
)
from numeric.cli.main import app

DOCS = Path(__file__).parent.parent / "docs" / "notes"
NUMBERED = {
    "000": [],
    "001": [str(number) for number in range(1, 52)],
    "002": ["1.1", "1.2", *(f"2.{number}" for number in range(1, 7))],
    "003": [],
    "004": ["1", "2"],
}
theta = parameter("theta")
b, f, x, u = finite("b", theta), function("f"), uniform("x", 0, theta), uniform("u")


@cache
def judged(note):
    return pages.judge_all(pages.load(note).statements)


def everything():
    return [one for note in pages.NOTES for one in judged(note)]


def recorded(one, **changes):
    """The statement with the evidence that it had, so that nothing is computed twice."""
    found = tuple(lambda evidence=evidence: evidence for evidence in one.evidence)
    correct = tuple(lambda evidence=evidence: evidence for evidence in one.correction)
    return replace(one.statement, checks=found, correct=correct, **changes)


# The statements


@pytest.mark.parametrize("note", pages.NOTES)
def test_every_numbered_equation_has_one_record_in_its_order(note):
    assert [one.number for one in pages.load(note).statements if one.number] == NUMBERED[note]


@pytest.mark.parametrize("note", pages.NOTES)
def test_every_verdict_follows_from_its_checks(note):
    assert all(one.evidence for one in judged(note))


@pytest.mark.parametrize("note", pages.NOTES)
def test_no_two_statements_of_a_note_are_the_same(note):
    stated = Counter((one.place, one.stated) for one in pages.load(note).statements)
    assert [key for key, count in stated.items() if count > 1] == []


def test_any_other_verdict_is_refused():
    for one in everything():
        if one.checked_by == "reading":
            continue
        for verdict in VERDICTS:
            if verdict != one.statement.verdict:
                with pytest.raises(UnsupportedVerdict, match="its checks come to"):
                    judge(recorded(one, verdict=verdict))


def test_a_wrong_statement_has_two_exact_values_that_break_the_claimed_relation():
    wrong = [one for one in everything() if one.statement.verdict == WRONG]
    assert len(wrong) > 20
    for one in wrong:
        witnesses = [evidence.witness for evidence in one.evidence if evidence.kind == "counterexample"]
        assert witnesses, one.statement.place
        for witness in witnesses:
            assert isinstance(witness.left, Fraction)
            assert not witness.satisfied
            apart = abs(witness.left - witness.right)
            assert apart > 2 * witness.radius or (witness.relation == "!=" and apart == 0), one.statement.place


def test_a_wrong_or_ill_formed_statement_has_a_corrected_form():
    bad = [one.statement for one in everything() if one.statement.verdict in (WRONG, ILL)]
    assert [statement.place for statement in bad if not statement.corrected] == []


def test_a_wrong_statement_has_a_proof_of_its_corrected_form():
    assert [one.statement.place for one in everything() if one.statement.verdict == WRONG and not one.correction] == []


def test_what_holds_under_assumptions_names_one_or_a_case_outside():
    for one in everything():
        if one.statement.verdict == UNDER and one.checked_by != "reading":
            assert any(evidence.assumptions or evidence.kind == "outside" for evidence in one.evidence)


def test_what_only_a_person_checked_is_counted_apart():
    by_reading = {(one.statement.note, one.statement.place) for one in everything() if one.checked_by == "reading"}
    assert by_reading == {
        ("001", "Algorithm 1, lines 7 and 8"),
        ("001", "Justification of RELAX, first bullet, second half"),
    }
    assert {one.checked_by for one in everything()} == set(CHECKERS)


# The pages


def test_the_pages_in_the_repository_are_what_the_command_writes():
    audited = [(pages.load(note), judged(note)) for note in pages.NOTES]
    written = {f"note_{note.key}.md": pages.page(note, found) for note, found in audited} | {"index.md": pages.index(audited)}
    assert {path.name for path in DOCS.glob("*.md")} == set(written)
    for name, page in written.items():
        assert page == (DOCS / name).read_text(encoding="utf-8"), name


def test_a_page_shows_every_statement_and_ends_with_its_counts():
    for note in pages.NOTES:
        page = pages.page(pages.load(note), judged(note))
        assert page.count("\n### ") == len(judged(note))
        assert page.rstrip().splitlines()[-1].endswith(f"| {len(judged(note))} |")


def test_the_index_counts_everything_once():
    last = pages.index([(pages.load(note), judged(note)) for note in pages.NOTES]).rstrip().splitlines()[-1]
    numbers = [int(cell) for cell in last.strip("| ").split("|")[1:]]
    assert sum(numbers[:-1]) == numbers[-1] == len(everything())


def test_a_changed_verdict_stops_the_generation_and_nothing_is_written(tmp_path):
    right = judged("002")[0]
    note = pages.Note("002", "a note", (recorded(right), recorded(right, verdict=ILL)), ())
    with pytest.raises(UnsupportedVerdict, match="note 002, introduction"):
        pages.run(tmp_path / "audit", [note])
    assert not (tmp_path / "audit").exists()


# The blocks: what is printed is checked again, and nothing else of the audit has a part in that


def page_of(note):
    return (DOCS / f"note_{note}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("note", pages.NOTES)
def test_every_block_of_a_page_stands_when_it_is_read_again(note, capsys):
    found = page_of(note).count("```derivation")
    assert found == sum(bool(proof.block) for one in judged(note) for proof in (*one.evidence, *one.correction)) > 5
    assert run(app, ["check", "--quiet", str(DOCS / f"note_{note}.md")]) == 0
    assert capsys.readouterr().out.count(": holds") == found


def altered(page, opened, change):
    """Each block of a page with one line that begins so changed, in turn, and the number of that line."""
    for first, lines in blocks(page):
        for place, line in enumerate(lines):
            if line.strip().startswith(opened):
                yield first + place, [*lines[:place], change(line), *lines[place + 1 :]], first


@pytest.mark.parametrize("note", pages.NOTES)
@pytest.mark.parametrize(
    ("opened", "change"),
    [
        ("= ", lambda line: re.sub("= (-?)", lambda sign: f"= 1 {sign[1] or '+'} ", line, count=1)),
        ("needs ", lambda line: line.replace("needs ", "needs Not", 1)),
    ],
)
def test_each_line_of_a_block_that_is_altered_is_named(note, opened, change):
    wrong = list(altered(page_of(note), opened, change))
    assert len(wrong) > 5
    for number, lines, first in wrong:
        with pytest.raises(WrongStep) as refused:
            check(lines, first)
        assert refused.value.line == number


def test_an_altered_line_fails_the_page(tmp_path, capsys):
    page = page_of("000")
    line = next(number for number, _, _ in altered(page, "= ", str))
    (tmp_path / "note.md").write_text(page.replace("\n  = ", "\n  = 2 * ", 1), encoding="utf-8")
    assert run(app, ["check", "--quiet", str(tmp_path / "note.md")]) == 1
    assert [said for said in capsys.readouterr().out.splitlines() if ": holds" not in said] == [
        f"{tmp_path / 'note.md'}:{line}: does not hold: expectation does not lead to this line."
    ]


def test_the_index_counts_the_blocks_and_names_what_is_none():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    proofs = [proof for one in everything() for proof in (*one.evidence, *one.correction)]
    written, without = sum(bool(proof.block) for proof in proofs), sum(bool(proof.unwritten) for proof in proofs)
    assert f"| all | {written} | {without} |" in index
    assert index.count("a typed derivation has no rule for that") == without
    assert [proof for proof in proofs if proof.text.startswith("kernel") and not proof.block and not proof.unwritten] == []


# The checks: each refuses what it should not accept

target = grad(E(f(b), b), theta)
CANARIES = {
    "same": checks.same(target, 2 * target, theta),
    "chain": checks.chain(target, (algebra, 2 * target)),
    "theorem": checks.theorem(lambda: kernel.algebra(theta, 2 * theta)),
    "proved": checks.proved(catalogue["control-variate-without-correction"]),
    "confirmed": checks.confirmed("1 = 2", 1, "=", 2),
    "needs": checks.needs("Differentiable", lambda: None, "nothing is refused"),
    "another premise": checks.needs("SupportFixed", lambda: pathwise(grad(E(f(x), x), theta)), "refused by another name"),
    "differs": checks.differs(target, E(f(b) * score(b), b), theta),
    "numbers": checks.numbers("1 = 1", 1, "=", 1),
    "outside": checks.outside("1 < 2", 1, "<", 2),
    "outside differs": checks.outside_differs(target, target, theta, "the same"),
    "refused": checks.refused("Differentiable", lambda: None, "nothing is refused"),
    "unscoped": checks.unscoped(lambda: checks.closed("closed", E(f(b), b)), "nothing is free"),
    "unbalanced": checks.unbalanced("E[f(b)]"),
    "undefined": checks.undefined({"f"}, {"f", "g"}, "all is defined"),
    "two meanings": checks.two_meanings("f", {"f": 1, "the same": 1}, "one meaning"),
    "wrong reference": checks.wrong_reference("1", "it", {"1": "it"}),
    "not summable": checks.not_summable(b),
    "without": checks.without(f(b), b, "f(b)"),
    "needed error": checks.needed_error(lambda: None, "nothing fails"),
    "falling bias": cases.falling_bias((Fraction(1, 2), Fraction(1))),
    "flatter": cases.flatter((Fraction(1), Fraction(1, 2))),
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_check_refuses_its_canary(name):
    statement = Pen("000").claim("canary", name, HOLDS, CANARIES[name])
    with pytest.raises(UnsupportedVerdict, match="note 000, canary"):
        judge(statement)


def test_a_corrected_form_must_be_proved():
    wrong = Pen("000").claim("a", "a", HOLDS, checks.confirmed("1", 1, "=", 1), correct=(checks.numbers("1 = 2", 1, "=", 2),))
    with pytest.raises(UnsupportedVerdict, match="corrected form is not proved"):
        judge(wrong)


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (("proof",), HOLDS),
        (("proof", "reading"), HOLDS),
        (("proof", "outside"), UNDER),
        (("proof", "counterexample"), WRONG),
        (("counterexample", "malformed"), ILL),
        (("reading",), None),
        (("outside",), None),
    ],
)
def test_a_verdict_is_read_off_the_evidence(kinds, verdict):
    assert verdict_of(tuple(Evidence(kind, "") for kind in kinds)) == verdict


def test_a_verdict_needs_a_check_and_one_of_four_names():
    with pytest.raises(UnsupportedVerdict, match="there is no check"):
        judge(Pen("000").claim("a", "a", HOLDS))
    with pytest.raises(UnsupportedVerdict, match="is unknown"):
        judge(Pen("000").claim("a", "a", "true", checks.read("so it says")))


# The exact cases, by hand


def test_the_reversed_variances_are_the_normal_moments():
    moment = {0: 1, 2: 1, 4: 3, 6: 15, 8: 105, 10: 945}
    by_score = moment[10] - 20 * moment[8] + 130 * moment[6] - 300 * moment[4] + 225 * moment[2]
    by_path = 16 * moment[6] - 160 * moment[4] + 400 * moment[2]
    assert cases.variances(cases.quartic) == (by_score, by_path) == (120, 160)


def test_rebar_at_a_rational_case_has_the_gradient_as_its_mean_for_every_eta():
    for eta in (0, Fraction(1, 2), 1, 3):
        assert cases.rebar_at_one(lambda s: s, lambda s: s**0, eta)[0] == 1
        assert cases.rebar_at_one(lambda s: s**2 + s, lambda s: 2 * s + 1, eta)[0] == 2
        assert cases.rebar_at_one(cases.hump, cases.hump_slope, eta)[0] == 0


def test_the_enclosures_contain_the_exact_values_at_temperature_one():
    mean, square = cases.relaxed(Fraction(1))
    exact_mean, exact_variance = cases.concrete_at_one(lambda s: s**0)
    assert (3 * mean).contains(int(3 * exact_mean))
    assert (15 * square).contains(int(15 * (exact_variance + exact_mean**2)))


def test_a_bracket_is_matched_by_its_own_kind():
    assert checks.bracket_problem("(a]") == "] closes nothing"
    assert checks.bracket_problem("a)") == ") closes nothing"
    assert checks.bracket_problem("[f(a) - (b)]") == ""


def test_a_value_needs_a_closed_term():
    assert checks.value(E(u**3, u)) == Fraction(1, 4)
    assert checks.moments(catalogue["score-function"], RationalCase.finite((1,), (0,), f=(1,))) == (0, 0)
    assert checks.value(lift(3) * theta, theta=2) == 6
