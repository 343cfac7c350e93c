"""Estimators of odd shapes: text, JSON and exit status say one word, and a name stands for one thing."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import derive
from derive.catalogue import catalogue
from derive.cli.main import run
from derive.language.errors import TooLarge, UsageError
from derive.language.estimator import Estimator
from derive.notation import E, finite, function, grad, parameter, score
from numeric.cli.main import app

STATUS = {"proved": 0, "checked": 3, "scaled": 1, "other-target": 1, "refuted": 1, "vacuous": 3, "undecided": 3}
HEAD = """\
from fractions import Fraction
from derive.estimator import Estimator
from derive.notation import *
theta, phi, c, f = parameter("theta"), parameter("phi"), constant("c"), function("f")
B = constant("b")
a, b, u = finite("a", phi, law="q"), finite("b", theta), uniform("u")
target = grad(E(f(b), b), theta)
"""
ODD = {
    "no draws": ("grad(theta**2, theta), draws=(), target=grad(theta**2, theta)", "proved"),
    "no draws, wrong": ("3 * theta, draws=(), target=grad(theta**2, theta)", "scaled"),
    "draws that are not used": ("f(b) * score(b), draws=(b, u), target=target", "proved"),
    "target itself": ("target, draws=(u,), target=target", "proved"),
    "two parameters": ("f(a, b) * score(b), draws=(b, a), target=grad(E(f(a, b), b, a), theta)", "proved"),
    "two parameters, the other": ("f(a, b) * score(a), draws=(b, a), target=grad(E(f(a, b), b, a), theta)", "refuted"),
    "target that is a sum": ("f(b) * score(b) + 2 * theta, draws=(b,), target=grad(E(f(b), b) + theta**2, theta)", "proved"),
    "target along another parameter": ("f(b) * score(b), draws=(b,), target=grad(E(f(b), b), phi)", "refuted"),
    "zero for zero": ("c * 0, draws=(b,), target=grad(E(c, b), theta)", "vacuous"),
    "zero for something": ("c * 0, draws=(b,), target=target", "refuted"),
    "large power": ("f(b)**1000 * score(b), draws=(b,), target=grad(E(f(b)**1000, b), theta)", "proved"),
    "large factor": ("f(b) * score(b) * 10**400, draws=(b,), target=target", "scaled"),
    "small error": ("f(b) * score(b) * (1 + Fraction(1, 10**60)), draws=(b,), target=target", "scaled"),
    "constant called as a variable": ("B * f(b) * score(b), draws=(b,), target=grad(E(B * f(b), b), theta)", "proved"),
    "constant for the variable": ("B * f(b) * score(b), draws=(b,), target=grad(E(b * f(b), b), theta)", "refuted"),
    "stopped": ("stop(f(b) * score(b)), draws=(b,), target=target", "proved"),
}  # fmt: skip


@pytest.mark.parametrize("shape", ODD)
def test_text_json_and_status_say_one_word(shape, tmp_path, capsys):
    arguments, word = ODD[shape]
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}mine = Estimator('mine', {arguments})\n", encoding="utf-8")
    for flags in ((), ("--quiet",), ("--json",)):
        assert run(app, ["prove", f"{path}:mine", *flags]) == STATUS[word]
        printed = capsys.readouterr().out
        assert (json.loads(printed)["verdict"] if flags == ("--json",) else printed.split()[1]) == word


theta = parameter("theta")
b, f = finite("b", theta), function("f")
target = grad(E(f(b), b), theta)


@pytest.mark.parametrize("name", ["p", "dp", "score"])
def test_a_function_is_not_called_as_a_law_or_what_is_said_of_it(name):
    """With a function p a witness said p(1) = 2 of a probability, since both have that name there."""
    g = function(name)
    with pytest.raises(UsageError, match="call the function otherwise"):
        Estimator("mine", g(b) ** 2 * score(b), draws=(b,), target=grad(E(g(b), b), theta))
    other = finite("o", theta, law="r")
    Estimator("mine", g(other) * score(other), draws=(other,), target=grad(E(g(other), other), theta))


@pytest.mark.parametrize("name", ["r", "dr", "score_r"])
def test_nor_as_a_law_of_another_name(name):
    other, g = finite("o", theta, law="r"), function(name)
    with pytest.raises(UsageError, match="call the function otherwise"):
        Estimator("mine", g(other) * score(other), draws=(other,), target=grad(E(f(other), other), theta))
    with pytest.raises(UsageError, match="call the function otherwise"):
        Estimator("mine", f(b) * score(b), draws=(b,), target=grad(E(g(b) + E(f(other), other), b), theta))


def test_the_name_of_an_estimator_makes_no_line_of_its_own():
    mine = Estimator("a\nproved: b", f(b) * score(b) / 2, draws=(b,), target=target)
    for thing in (mine, derive.prove(mine), derive.variance(mine)):
        assert str(thing).splitlines()[0].startswith("a?proved: b")


def test_a_variance_of_thousands_of_digits_is_refused_and_a_long_one_fits_a_screen():
    power = Estimator("mine", f(b) ** 1000 * score(b), draws=(b,), target=grad(E(f(b) ** 1000, b), theta))
    with pytest.raises(TooLarge, match="thousands of digits"):
        derive.variance(power)
    factor = Estimator("mine", f(b) * score(b) * (1 + Fraction(1, 10**60)), draws=(b,), target=target)
    for estimator in (factor, catalogue["iwae-sticking-the-landing"]):
        assert max(map(len, str(derive.variance(estimator)).splitlines())) <= 120
