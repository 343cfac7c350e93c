"""pyro-ppl: the gradients of its ELBOs, on a model with two dependent discrete variables and on one with a normal variable."""

from __future__ import annotations

import math
import warnings
from functools import partial
from unittest import mock

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyro
    import pyro.distributions as dist
    from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, tracegraph_elbo

from subjects.subject import Measured, Subject, audited, compared, require_as_expected

pytestmark = pytest.mark.filterwarnings("ignore")

LOG_FACTOR = torch.tensor([[-1.2, -0.4, -2.0], [-0.7, -1.9, -0.3], [-1.1, -0.2, -0.9]], dtype=torch.float64)
LOG_JOINT = LOG_FACTOR - 2 * math.log(3)
LOGITS_A = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
LOGITS_B = torch.tensor([[0.3, -0.1, 0.2], [0.0, 0.4, -0.3], [0.2, 0.1, -0.5]], dtype=torch.float64)
BASELINE = {"baseline": {"use_decaying_avg_baseline": True, "baseline_beta": 0.95}}
AVERAGE = torch.tensor(0.4, dtype=torch.float64)


def model():
    uniform = torch.zeros(3, dtype=torch.float64)
    a = pyro.sample("a", dist.Categorical(logits=uniform))
    b = pyro.sample("b", dist.Categorical(logits=uniform))
    pyro.factor("factor", LOG_FACTOR[a, b])


def parameters(**values):
    pyro.clear_param_store()
    for name, value in values.items():
        pyro.param(name, value.clone())
    return {name: pyro.param(name).unconstrained() for name in values}


def discrete(make, infer=None, objective=None):
    """The audit of one call of loss_and_grads with a guide q(a) q(b | a)."""
    params = parameters(logits_a=LOGITS_A, logits_b=LOGITS_B)

    def guide():
        a = pyro.sample("a", dist.Categorical(logits=pyro.param("logits_a")), infer=dict(infer or {}))
        pyro.sample("b", dist.Categorical(logits=pyro.param("logits_b")[a]), infer=dict(infer or {}))

    def loss():
        for name in [name for name in pyro.get_param_store().keys() if name.startswith("__baseline")]:
            del pyro.get_param_store()[name]
        if infer is BASELINE:
            for name in "ab":
                pyro.param(f"__baseline_avg_downstream_cost_{name}", AVERAGE.clone())
        make().loss_and_grads(model, guide)

    return audited(loss, params, partial(objective or negative_elbo, params), seen=slice(0, 3))


def log_weight(params):
    """log p(a, b) - log q(a, b) for a draw of our own."""
    a = torch.multinomial(params["logits_a"].softmax(-1), 1)[0]
    b = torch.multinomial(params["logits_b"][a].softmax(-1), 1)[0]
    return LOG_JOINT[a, b] - params["logits_a"].log_softmax(-1)[a] - params["logits_b"][a].log_softmax(-1)[b]


def negative_elbo(params):
    return -log_weight(params)


def negative_bound(alpha, particles):
    """The negative variational Renyi bound of that many particles."""

    def objective(params, weigh=log_weight):
        weights = torch.stack([weigh(params) for _ in range(particles)])
        return -(torch.logsumexp((1 - alpha) * weights, 0) - math.log(particles)) / (1 - alpha)

    return objective


def renyi(alpha, particles):
    make = partial(RenyiELBO, alpha=alpha, num_particles=particles)
    return discrete(make, objective=negative_bound(alpha, particles))


def normal(make, objective, particles=1):
    """A reparameterized guide N(m, exp(s)) for the model z ~ N(0, 1), x = 0.7 ~ N(sin z, 1), at four sets of frozen noise.

    The audit freezes noise itself, but refuses here: pyro looks for nan and zero in its log probabilities, which is a branch.
    """
    params = parameters(m=torch.tensor(0.4, dtype=torch.float64), s=torch.tensor(-0.3, dtype=torch.float64))
    zero, one, x = (torch.tensor(value, dtype=torch.float64) for value in (0.0, 1.0, 0.7))

    def normal_model():
        z = pyro.sample("z", dist.Normal(zero, one))
        pyro.sample("x", dist.Normal(z.sin(), one), obs=x)

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("m"), pyro.param("s").exp()))

    def weigh(noise, params):
        z = params["m"] + params["s"].exp() * next(noise)
        q = -0.5 * ((z - params["m"]) / params["s"].exp()) ** 2 - params["s"]
        return -0.5 * z**2 - 0.5 * (x - z.sin()) ** 2 - q - 0.5 * math.log(2 * math.pi)

    found, expected = [], []
    for noise in torch.tensor([[-1.3, 0.2], [0.9, -0.4], [2.1, 1.7], [0.05, -2.2]], dtype=torch.float64)[:, :particles]:
        left = iter(noise)
        for value in params.values():
            value.grad = None
        with mock.patch("torch.distributions.normal._standard_normal", lambda *_, left=left, **__: next(left)):
            make().loss_and_grads(normal_model, guide)
        found += [value.grad for value in params.values()]
        expected += torch.autograd.grad(objective(params, partial(weigh, iter(noise))), list(params.values()))
    return compared(torch.stack(found), torch.stack(expected), "noise frozen", 1e-12)


RENYI = (
    "For a guide that is not reparameterized the score function gets the factor alpha / (1 - alpha), which is the "
    "gradient in the "
    "limit of infinitely many particles, and not that of the bound that is reported as the loss"
)
SUBJECTS = [
    Subject(
        "trace-elbo",
        "Trace_ELBO().loss_and_grads(model, guide)",
        "-ELBO, discrete guide q(a) q(b | a)",
        partial(discrete, Trace_ELBO),
        "unbiased",
        "Score function with the parts of the ELBO that lie downstream.",
    ),
    Subject(
        "trace-elbo-2",
        "Trace_ELBO(num_particles=2).loss_and_grads(model, guide)",
        "-ELBO, discrete guide",
        partial(discrete, partial(Trace_ELBO, num_particles=2)),
        "unbiased",
        "The mean of two particles.",
    ),
    Subject(
        "trace-graph-elbo",
        "TraceGraph_ELBO().loss_and_grads(model, guide)",
        "-ELBO, discrete guide",
        partial(discrete, TraceGraph_ELBO),
        "unbiased",
        "Downstream costs by provenance tracking.",
    ),
    Subject(
        "trace-graph-elbo-baseline",
        "TraceGraph_ELBO().loss_and_grads(model, guide), use_decaying_avg_baseline=True",
        "-ELBO, discrete guide, at a baseline of 0.4",
        partial(discrete, TraceGraph_ELBO, BASELINE),
        "unbiased",
        "The decaying average is used as it was before the current cost goes into it.",
    ),
    Subject(
        "trace-enum-elbo-parallel",
        'TraceEnum_ELBO(max_plate_nesting=0).loss_and_grads(model, guide), infer={"enumerate": "parallel"}',
        "-ELBO, discrete guide",
        partial(discrete, partial(TraceEnum_ELBO, max_plate_nesting=0), {"enumerate": "parallel"}),
        "unbiased",
        "The exact gradient itself: nothing is drawn.",
    ),
    Subject(
        "trace-enum-elbo-sequential",
        'TraceEnum_ELBO(max_plate_nesting=0).loss_and_grads(model, guide), infer={"enumerate": "sequential"}',
        "-ELBO, discrete guide",
        partial(discrete, partial(TraceEnum_ELBO, max_plate_nesting=0), {"enumerate": "sequential"}),
        "unbiased",
        "The exact gradient itself: nothing is drawn.",
    ),
    Subject(
        "trace-enum-elbo-sampled",
        "TraceEnum_ELBO(max_plate_nesting=0).loss_and_grads(model, guide), nothing enumerated",
        "-ELBO, discrete guide",
        partial(discrete, partial(TraceEnum_ELBO, max_plate_nesting=0)),
        "unbiased",
        "Without enumeration it is a score function.",
    ),
    Subject(
        "trace-elbo-normal",
        "Trace_ELBO().loss_and_grads(model, guide)",
        "-ELBO, normal guide",
        partial(normal, Trace_ELBO, lambda params, weigh: -weigh(params)),
        "unbiased",
        "Pathwise; the gradient agrees for every set of frozen noise.",
    ),
    *(
        Subject(
            f"renyi-elbo-normal-{alpha}",
            f"RenyiELBO(alpha={alpha}, num_particles=2).loss_and_grads(model, guide)",
            "-(bound of 2 particles), normal guide",
            partial(normal, partial(RenyiELBO, alpha=alpha, num_particles=2), negative_bound(alpha, 2), 2),
            "unbiased",
            "Pathwise; the gradient agrees for every set of frozen noise.",
        )
        for alpha in (0.0, 0.5, 2.0)
    ),
    Subject(
        "renyi-elbo-discrete-0-1",
        "RenyiELBO(alpha=0, num_particles=1).loss_and_grads(model, guide)",
        "-ELBO, which is the bound of 1 particle; discrete guide",
        partial(renyi, 0, 1),
        "biased",
        f"{RENYI}. With alpha = 0 the factor is 0: the guide's gradient is exactly zero for every draw, whatever the model.",
        mean=(0.0, 0.0, 0.0),
        standing="undocumented",
    ),
    Subject(
        "renyi-elbo-discrete-0-2",
        "RenyiELBO(alpha=0, num_particles=2).loss_and_grads(model, guide)",
        "-(importance-weighted bound of 2 particles), discrete guide",
        partial(renyi, 0, 2),
        "biased",
        f"{RENYI}. The default, alpha = 0, trains no discrete guide at all.",
        mean=(0.0, 0.0, 0.0),
        standing="undocumented",
    ),
    Subject(
        "renyi-elbo-discrete-0.5-2",
        "RenyiELBO(alpha=0.5, num_particles=2).loss_and_grads(model, guide)",
        "-(bound of 2 particles), discrete guide",
        partial(renyi, 0.5, 2),
        "biased",
        f"{RENYI}.",
        mean=(0.03784686071202799, -0.010924609607421433, -0.026922251104606554),
        standing="undocumented",
    ),
    Subject(
        "renyi-elbo-discrete-2-2",
        "RenyiELBO(alpha=2, num_particles=2).loss_and_grads(model, guide)",
        "-(bound of 2 particles), discrete guide",
        partial(renyi, 2.0, 2),
        "biased",
        f"{RENYI}.",
        mean=(0.13024654949314474, -0.03550387929544486, -0.09474267019769975),
        standing="undocumented",
    ),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_verdict_is_the_one_on_the_page(subject):
    require_as_expected(subject)


def test_the_exact_gradient_of_the_elbo_is_that_by_hand():
    a = LOGITS_A.clone().requires_grad_()
    log_q = a.log_softmax(-1)[:, None] + LOGITS_B.log_softmax(-1)
    (log_q.exp() * (log_q - LOG_JOINT)).sum().backward()
    found: Measured = discrete(Trace_ELBO)
    torch.testing.assert_close(torch.tensor(found.exact, dtype=torch.float64), a.grad)


def test_a_baseline_that_is_updated_before_use_is_found(monkeypatch):
    construct = tracegraph_elbo._construct_baseline

    def updated_first(node, guide_site, downstream_cost):
        used, loss, baseline = construct(node, guide_site, downstream_cost)
        return used, loss, 0.95 * baseline + 0.05 * downstream_cost.detach()

    monkeypatch.setattr(tracegraph_elbo, "_construct_baseline", updated_first)
    found = discrete(TraceGraph_ELBO, BASELINE)
    assert found.verdict == "scaled"
    assert found.scale == pytest.approx(0.95, abs=1e-12)


def test_an_elbo_that_drops_its_score_function_is_found(monkeypatch):
    monkeypatch.setattr("pyro.infer.trace_elbo.is_identically_zero", lambda value: True)
    found = discrete(Trace_ELBO)
    assert found.verdict != "unbiased"
