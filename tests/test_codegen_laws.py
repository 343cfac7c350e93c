"""Several laws in one program: each has logits of its own by name, a law that is given outcomes a table, and code is right."""

from __future__ import annotations

import pytest
import torch

from derive.catalogue import catalogue
from derive.estimator import Estimator
from derive.language.errors import UsageError
from derive.language.term import Term
from derive.notation import (
    E,
    Over,
    constant,
    continuous,
    copies,
    exp,
    finite,
    function,
    grad,
    log,
    normal,
    p,
    parameter,
    score,
    sigmoid,
    stop,
    uniform,
)
from numeric.checking.crosscheck import CrosscheckReport, crosscheck
from numeric.codegen.torchgen import emit, generate, usual_families
from numeric.codegen.torchrun import compile
from tests.families import WITHOUT_CODE

THETA = parameter("theta")
F, R0, R1 = function("f", differentiable=True), function("r0"), function("r1")
PI, MU, REF = finite("b", THETA, law="pi"), finite("a", law="mu"), finite("r", law="ref")
TARGET = grad(E(F(PI), PI), THETA)
REVERSE = grad(E(log(p(PI)) - log(p(REF, at=PI)), PI), THETA)
RATIO = p(PI, at=MU) / p(MU)

# Two steps: the state is given the first action, the second action the state
A0 = finite("a0", THETA, law="pi0")
S = finite("s", law="P", given=(A0,))
A1 = finite("a1", THETA, law="pi1", given=(S,))
LATER, BOTH = R1(S, A1), R0(A0) + R1(S, A1)
TWO_STEPS = grad(E(BOTH, A0, S, A1), THETA)
EXACT_CRITIC = (R0(A0) + E(LATER, A1)) * score(A0) + LATER * score(A1)
EVERY_FIRST = Over(grad(p(A0), THETA) * (R0(A0) + E(E(LATER, A1), S)), A0)
PAIRED = finite("c", THETA, law="pi2", given=(A0, S))


def mine(formula: Term, *draws, target=TARGET) -> Estimator:
    return Estimator("mine", formula, draws=draws, target=target)


RIGHT = {
    "importance weights": mine(RATIO * F(MU) * score(PI, at=MU), MU),
    "importance weights, differentiated": mine(grad(RATIO * F(MU), THETA), MU),
    "k3 with a ratio": mine(
        grad(p(PI) / stop(p(PI)) * (p(REF, at=PI) / p(PI) - 1 + log(p(PI)) - log(p(REF, at=PI))), THETA), PI, target=REVERSE
    ),
    "reward to go": mine(BOTH * score(A0) + LATER * score(A1), A0, S, A1, target=TWO_STEPS),
    "every first action, and every second": mine(EVERY_FIRST + E(LATER * score(A1), A1), A0, S, target=TWO_STEPS),
    "exact critic": mine(EXACT_CRITIC, A0, S, A1, target=TWO_STEPS),
    "given two outcomes": mine(
        F(PAIRED) * (score(A0) + score(PAIRED)), A0, S, PAIRED, target=grad(E(F(PAIRED), A0, S, PAIRED), THETA)
    ),
    "a model, and samples that know nothing of it": mine(
        grad(R1(MU, THETA), THETA) / p(MU), MU, target=grad(Over(R1(MU, THETA), MU), THETA)
    ),
    "no draws": mine(E(F(MU), MU) * grad(sigmoid(THETA), THETA), target=grad(sigmoid(THETA) * E(F(MU), MU), THETA)),
}
WRONG = {
    "no weights": mine(F(MU) * score(PI, at=MU), MU),
    "weights of the wrong law": mine(p(REF, at=MU) / p(MU) * F(MU) * score(PI, at=MU), MU),
    "k3 as a loss": mine(grad(p(REF, at=PI) / p(PI) + log(p(PI)), THETA), PI, target=REVERSE),
    "the first action is not credited": mine(R0(A0) * score(A0) + LATER * score(A1), A0, S, A1, target=TWO_STEPS),
    "the second action is not credited": mine(BOTH * score(A0), A0, S, A1, target=TWO_STEPS),
    "another order of the outcomes": mine(BOTH * score(A0) + R1(A1, S) * score(A1), A0, S, A1, target=TWO_STEPS),
}


def quick(estimator: Estimator, family: str, size: int | None = 2) -> CrosscheckReport:
    return crosscheck(estimator, family, size=size, samples=500)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", RIGHT)
def test_the_code_of_several_laws_has_the_exact_gradient_as_its_mean(name, family):
    report = quick(RIGHT[name], family)
    assert report.agrees, str(report)
    assert all(check.tolerance == 1e-12 for check in report.zero_noise)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_of_several_laws_is_told_without_noise(name, family):
    assert not all(check.passed for check in quick(WRONG[name], family).zero_noise)


def test_importance_weights_read_as_they_would_be_written_by_hand():
    body = emit(RIGHT["importance weights"]).split('(...)."""\n')[1]
    assert body == (
        '    mu_logits, pi_logits = params["mu"], params["pi"]\n'
        '    a = noise["a"]\n'
        "    log_pi_a = logsigmoid((2 * a - 1) * pi_logits).sum(-1)\n"
        "    pi_a = torch.exp(log_pi_a)\n"
        "    log_mu_a = logsigmoid((2 * a - 1) * mu_logits).sum(-1)\n"
        "    mu_a = torch.exp(log_mu_a)\n"
        "    f_a = f(a)\n"
        "    p_pi = torch.sigmoid(pi_logits)\n"
        "    score_pi_a = a - p_pi\n"
        "    d_pi = (pi_a * f_a)[..., None] * score_pi_a / mu_a[..., None]\n"
        '    return {"pi": d_pi}\n'
    )


def test_the_gradient_is_that_of_the_laws_that_depend_on_the_parameter_of_the_target():
    logits = {name: torch.zeros(2, 3, requires_grad=True) for name in ("mu", "pi")}
    found = compile(RIGHT["importance weights"], "categorical")(logits, lambda b: b[..., 0])
    assert {name: part.shape for name, part in found.items()} == {"pi": (2, 3)}
    compile(RIGHT["importance weights"], "categorical").surrogate(logits, lambda b: b[..., 0]).backward()
    assert logits["pi"].grad is not None
    assert logits["mu"].grad is None


def test_a_row_of_a_table_moves_only_where_it_was_drawn():
    logits = {"pi0": torch.tensor([9.0, -9.0, -9.0]), "P": torch.zeros(3, 3), "pi1": torch.zeros(3, 3)}
    logits["P"][0] = torch.tensor([-9.0, 9.0, -9.0])
    reward = {"r1": lambda s, a: s[..., 0] + a[..., 1]}
    found = compile(RIGHT["reward to go"], "categorical")(
        logits, lambda a: a[..., 0], generator=torch.Generator().manual_seed(0), samples=50, **reward
    )
    assert found["pi1"][1].abs().sum() > 0
    assert found["pi1"][0].abs().sum() == found["pi1"][2].abs().sum() == 0


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(3), "expected a dictionary of mu, pi, got a Tensor"),
        ({"pi": torch.zeros(3)}, r"expected a dictionary of mu, pi, got keys \['pi'\]"),
        ({"pi": torch.zeros(3), "mu": torch.zeros(4)}, "pi is taken at outcomes of mu"),
        ({"pi": torch.zeros(2, 3), "mu": torch.zeros(3)}, "must agree in batch, dtype and device"),
        ({"pi": torch.zeros(3), "mu": torch.zeros(3).double()}, "must agree in batch, dtype and device"),
    ],
)
def test_logits_that_do_not_fit_each_other_are_refused(logits, message):
    with pytest.raises(UsageError, match=message):
        compile(RIGHT["importance weights"], "categorical").draw(logits)


@pytest.mark.parametrize(("family", "rows"), [("categorical", 8), ("bernoulli", 3)])
def test_a_table_has_a_row_for_each_outcome_that_its_law_is_given(family, rows):
    logits = {"pi0": torch.zeros(3), "P": torch.zeros(rows, 3), "pi1": torch.zeros(rows, 3)}
    with pytest.raises(UsageError, match=rf"P is given an outcome of pi0: expected a table with \d rows .* got {rows}"):
        compile(RIGHT["reward to go"], family).draw(logits)


# Normal laws, and parameters that are vectors themselves

M, SIGMA = function("mu", differentiable=True), function("sigma", differentiable=True)
J = function("log_joint", differentiable=True)
Z, NOISE, STEP = normal("z", M(THETA), SIGMA(THETA)), normal("epsilon"), constant("s")
FIXED = normal("zs", stop(M(THETA)), stop(SIGMA(THETA)))
MOVED = M(THETA) + SIGMA(THETA) * NOISE
ELBO = grad(E(J(Z) - log(p(Z)), Z), THETA)
SMOOTH = grad(E(F(THETA + STEP * NOISE), NOISE), THETA)
X, U = normal("x", THETA, STEP), uniform("u", -1, 1)
N1, N2 = copies(NOISE, 2)


def weight(noise: Term, law=FIXED) -> Term:
    return J(M(THETA) + SIGMA(THETA) * noise) - log(p(law, at=M(THETA) + SIGMA(THETA) * noise))


W1, W2 = (stop(exp(weight(noise, Z))) for noise in (N1, N2))
DREG = (W1 / (W1 + W2)) ** 2 * grad(weight(N1), THETA) + (W2 / (W1 + W2)) ** 2 * grad(weight(N2), THETA)
Z1, Z2 = copies(Z, 2)
BOUND = grad(E(log((exp(J(Z1) - log(p(Z, at=Z1))) + exp(J(Z2) - log(p(Z, at=Z2)))) / 2), Z1, Z2), THETA)
CONTINUOUS = {
    "sticking the landing": mine(grad(J(MOVED) - log(p(FIXED, at=MOVED)), THETA), NOISE, target=ELBO),
    "doubly reparameterised": mine(DREG, N1, N2, target=BOUND),
    "evolution strategies": mine(F(THETA + STEP * NOISE) * NOISE / STEP, NOISE, target=SMOOTH),
    "evolution strategies, mirrored": mine(
        (F(THETA + STEP * NOISE) - F(THETA - STEP * NOISE)) * NOISE / (2 * STEP), NOISE, target=SMOOTH
    ),
    "evolution strategies, by the law": mine(F(X) * (X - THETA) / STEP**2, X, target=grad(E(F(X), X), THETA)),
    "evolution strategies, by the score": mine(F(X) * score(X, THETA), X, target=grad(E(F(X), X), THETA)),
    "a difference of the smoothed": mine((F(THETA + 2) - F(THETA - 2)) / 4, target=grad(E(F(THETA + 2 * U), U), THETA)),
}
CONTINUOUS_WRONG = {
    "the whole weight": mine(grad(log((exp(weight(N1)) + exp(weight(N2))) / 2), THETA), N1, N2, target=BOUND),
    "a scale is forgotten": mine(F(THETA + STEP * NOISE) * NOISE, NOISE, target=SMOOTH),
    "strata that are all one": mine(
        (grad(F(THETA + U / 2), THETA) + grad(F(THETA + U / 3), THETA)) / 2, U, target=grad(E(F(THETA + U), U), THETA)
    ),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_code_of_normal_laws_of_any_mean_and_scale_has_the_exact_gradient_as_its_mean(name):
    (family,) = usual_families(CONTINUOUS[name])
    report = quick(CONTINUOUS[name], family, 1 if family == "normal" else None)
    assert report.agrees, str(report)


@pytest.mark.parametrize("name", CONTINUOUS_WRONG)
def test_a_wrong_program_of_normal_laws_is_told_without_noise(name):
    (family,) = usual_families(CONTINUOUS_WRONG[name])
    assert not all(check.passed for check in quick(CONTINUOUS_WRONG[name], family, 1).zero_noise)


def test_a_formula_that_calls_f_at_two_points_is_refused_for_more_than_one_coordinate():
    assert compile(CONTINUOUS["evolution strategies"])(torch.zeros(5, 4), lambda x: x.sum(-1), s=0.1).shape == (5, 4)
    mirrored = compile(CONTINUOUS["evolution strategies, mirrored"])
    assert mirrored(torch.zeros(5, 1), lambda x: x.sum(-1), s=0.1).shape == (5, 1)
    with pytest.raises(UsageError, match="calls a function at several points"):
        mirrored(torch.zeros(5, 4), lambda x: x.sum(-1), s=0.1)


def test_a_density_of_all_coordinates_weighs_each_of_them_once_only():
    weighed = mine(F(X) * grad(p(X), THETA) / p(X), X, target=grad(E(F(X), X), THETA))
    assert quick(weighed, "vector", 1).agrees
    with pytest.raises(UsageError, match="right for one number each"):
        compile(weighed).draw(torch.zeros(2), s=1.0)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (mine(F(MU) * score(PI, at=MU) / E(score(A0) ** 2, A0), MU), "divides by what is zero for the logits"),
        (mine(F(continuous("g", THETA)), continuous("g", THETA)), "abstract densities, of which there is no sampler"),
        (mine(F(finite("q", THETA, parameter("phi"))), finite("q", THETA, parameter("phi"))), "the law p of 2 parameters"),
        (mine(F(U), uniform("u", -1, 1), uniform("v", 0, THETA)), "uniform between terms"),
    ],
)
def test_a_refusal_says_which_law_has_no_code(estimator, message):
    with pytest.raises(UsageError, match=message):
        emit(estimator)


# Placement

EVERY = {name: catalogue[name] for name in catalogue if name not in WITHOUT_CODE} | RIGHT | CONTINUOUS


@pytest.mark.parametrize("name", EVERY)
def test_no_tensor_of_generated_code_is_left_on_another_device(name):
    for family in usual_families(EVERY[name]):
        generated = generate(EVERY[name], family)
        params = _on_meta(generated, family)
        module: dict = {}
        exec(generated.source, module)  # noqa: S102, the text is our own
        numbers = {symbol: 0.5 for symbol, kind in generated.kinds.items() if kind == 0 and symbol != generated.parameter}
        held = {name: numbers.get(name, torch.zeros(2, device="meta")) for name in generated.drawn_with}
        noise = module["draw"](params, None, (3,), **held)
        functions = {name: lambda *args: sum(arg.sum(-1) for arg in args if arg.ndim) for name in generated.functions}
        functions |= {name: lambda x: x.square() for name in generated.vectors}
        values = {symbol: torch.zeros(2, 2, device="meta") for symbol, _ in generated.symbols}
        values |= {symbol: torch.zeros(2, device="meta") for symbol, kind in generated.kinds.items() if kind == 1}
        first = [functions.pop(generated.functions[0])] if generated.functions else []
        found = module["estimate"](params, noise, *first, **functions, **values | numbers)
        tensors = [*noise.values(), *(found.values() if isinstance(found, dict) else [found])]
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def _on_meta(generated, family: str):
    if generated.laws:
        rows = 4 if family == "bernoulli" else 2
        tables = {one.name: torch.zeros(2, *[rows] * one.conditions, 2, device="meta") for one in generated.laws}
        tables |= {name: torch.zeros(2, *[rows] * len(given), 2, device="meta") for name, given in generated.location}
        return {name: tables.get(name, torch.zeros(2, 2, device="meta")) for name in generated.gives}
    zeros = torch.zeros(2, 2, device="meta")
    return {"loc": zeros, "log_scale": zeros} if family == "normal" else zeros


# A constant in the place of a sample


def test_a_constant_outcome_stands_beside_samples():
    remax = compile(catalogue["remax"], "categorical")
    logits = torch.tensor([[0.2, -0.4, 0.1], [1.0, 0.5, -0.3]], dtype=torch.float64)
    outcomes = torch.eye(3, dtype=torch.float64)[torch.tensor([[2, 0], [1, 1]])]
    greedy = torch.eye(3, dtype=torch.float64)[logits.argmax(-1)]
    worth = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64)
    found = remax.estimate(logits, {"b": outcomes}, lambda b: b @ worth, greedy=greedy)
    advantage = outcomes @ worth - greedy @ worth
    assert torch.allclose(found, advantage[..., None] * (outcomes - logits.softmax(-1)))


def test_a_number_for_all_bits_may_stand_there_too():
    remax = compile(catalogue["remax"], "bernoulli")
    logits, ones = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    found = remax.estimate(logits, {"b": ones}, lambda b: b.sum(-1), greedy=0.0)
    assert torch.equal(found, 2 * (ones - 0.5))


@pytest.mark.parametrize(
    "formula",
    [(F(PI, constant("x")) - F(constant("y"), constant("x"))) * score(PI), (F(PI) - F(2 * constant("c"))) * score(PI)],
)
def test_what_stands_there_is_one_constant(formula):
    with pytest.raises(UsageError, match="at samples of a finite law and at a constant"):
        generate(mine(formula, PI), "bernoulli")


# A function of a ratio


def clipped(ratio):
    return ratio.squeeze(-1).clamp(0.8, 1.2)


def log_prob(logits, outcome):
    return torch.nn.functional.logsigmoid((2 * outcome - 1) * logits).sum(-1)


@pytest.mark.parametrize("written", [RATIO, exp(log(p(PI, at=MU)) - log(p(MU)))])
def test_a_function_of_a_ratio_is_given_it_as_a_vector_of_one_and_differentiated_through_it(written):
    clip = function("clip", differentiable=True)
    code = compile(mine(grad(clip(written) * F(MU), THETA), MU))
    logits = {"pi": torch.tensor([0.3, -1.0], dtype=torch.float64), "mu": torch.tensor([-0.2, 0.4], dtype=torch.float64)}
    for outcome in torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64):
        found = code.estimate(logits, {"a": outcome}, lambda b: b.sum(-1) - 0.5, clip=clipped)["pi"]
        moved = logits["pi"].clone().requires_grad_()
        ratio = (log_prob(moved, outcome) - log_prob(logits["mu"], outcome)).exp()
        expected = torch.autograd.grad(ratio.clamp(0.8, 1.2) * (outcome.sum() - 0.5), moved)[0]
        assert torch.allclose(found, expected)
