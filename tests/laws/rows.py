"""Every law of torch.distributions at some parameters, and every sampler: a right loss, a wrong twin, and the objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributions as laws
from torch import Tensor
from torch.nn.functional import dropout, gumbel_softmax
from torch.utils.data import DataLoader, TensorDataset

Function = Callable[[], Any]
WRONG = 0.95
"""The twin's gradient is that of the right loss times this."""


@dataclass(frozen=True)
class Row:
    """One loss that is right, the parameters, and the objective; the twin is the loss times 0.95."""

    name: str
    kind: str
    params: list[Tensor]
    loss: Function
    objective: Function
    is_right: bool = True

    @property
    def key(self) -> str:
        return f"{self.name}, {self.kind}"

    def twin(self) -> Any:
        return WRONG * self.loss()


def real(*values: float) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


def parameter(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def f(x: Tensor) -> Tensor:
    """A bounded function of a draw of any shape, with no symmetry."""
    x = x.double()
    return (x.tanh() * real(1.0, -2.0, 0.7, 0.4, 1.3)[: x.numel()].reshape(x.shape)).sum()


def scored(law: laws.Distribution) -> Tensor:
    x = law.sample().detach()
    return f(x) * law.log_prob(x)


Law = tuple[Callable[..., laws.Distribution], list[Tensor]]

LAWS: dict[str, Law] = {
    "Bernoulli": (lambda x: laws.Bernoulli(logits=x), [parameter(0.3)]),
    "Beta": (laws.Beta, [parameter(1.7), parameter(2.6)]),
    "Binomial": (lambda x: laws.Binomial(4, logits=x), [parameter(0.3)]),
    "Categorical": (lambda x: laws.Categorical(logits=x), [parameter([0.3, -0.5, 0.2])]),
    "Cauchy": (laws.Cauchy, [parameter(0.3), parameter(1.2)]),
    "Chi2": (laws.Chi2, [parameter(2.7)]),
    "ContinuousBernoulli": (lambda x: laws.ContinuousBernoulli(logits=x), [parameter(0.6)]),
    "Dirichlet": (laws.Dirichlet, [parameter([1.5, 2.2, 0.9])]),
    "Exponential": (laws.Exponential, [parameter(1.3)]),
    "FisherSnedecor": (laws.FisherSnedecor, [parameter(3.2), parameter(5.1)]),
    "Gamma": (laws.Gamma, [parameter(2.5), parameter(1.4)]),
    "GeneralizedPareto": (lambda s, c: laws.GeneralizedPareto(real(0.2), s, c), [parameter(1.1), parameter(0.3)]),
    "Geometric": (lambda x: laws.Geometric(logits=x), [parameter(0.3)]),
    "Gumbel": (laws.Gumbel, [parameter(0.3), parameter(1.2)]),
    "HalfCauchy": (laws.HalfCauchy, [parameter(1.2)]),
    "HalfNormal": (laws.HalfNormal, [parameter(1.2)]),
    "Independent": (
        lambda m, s: laws.Independent(laws.Normal(m, s), 1), [parameter([0.3, -0.4]), parameter([1.2, 0.7])]
    ),
    "InverseGamma": (laws.InverseGamma, [parameter(2.5), parameter(1.4)]),
    "Kumaraswamy": (laws.Kumaraswamy, [parameter(1.7), parameter(2.6)]),
    "LKJCholesky": (lambda c: laws.LKJCholesky(2, c), [parameter(1.5)]),
    "Laplace": (laws.Laplace, [parameter(0.3), parameter(1.2)]),
    "LogNormal": (laws.LogNormal, [parameter(0.3), parameter(0.8)]),
    "LogisticNormal": (laws.LogisticNormal, [parameter([0.3, -0.2]), parameter([0.8, 1.1])]),
    "LowRankMultivariateNormal": (
        laws.LowRankMultivariateNormal, [parameter([0.3, -0.4]), parameter([[0.5], [0.7]]), parameter([0.6, 0.9])]
    ),
    "MixtureSameFamily": (
        lambda x, m, s: laws.MixtureSameFamily(laws.Categorical(logits=x), laws.Normal(m, s)),
        [parameter([0.3, -0.2]), parameter([-1.0, 1.5]), parameter([0.7, 1.1])],
    ),
    "Multinomial": (lambda x: laws.Multinomial(3, logits=x), [parameter([0.3, -0.5, 0.2])]),
    "MultivariateNormal": (
        lambda m, s: laws.MultivariateNormal(m, scale_tril=s.tril()),
        [parameter([0.3, -0.4]), parameter([[1.1, 0.0], [0.4, 0.8]])],
    ),
    "NegativeBinomial": (lambda r, x: laws.NegativeBinomial(r, logits=x), [parameter(2.5), parameter(-1.0)]),
    "Normal": (laws.Normal, [parameter(0.3), parameter(1.2)]),
    "OneHotCategorical": (lambda x: laws.OneHotCategorical(logits=x), [parameter([0.3, -0.5, 0.2])]),
    "OneHotCategoricalStraightThrough": (
        lambda x: laws.OneHotCategoricalStraightThrough(logits=x), [parameter([0.3, -0.5, 0.2])]
    ),
    "Pareto": (lambda a: laws.Pareto(real(1.1), a), [parameter(2.3)]),
    "Poisson": (laws.Poisson, [parameter(1.3)]),
    "RelaxedBernoulli": (lambda x: laws.RelaxedBernoulli(real(0.7), logits=x), [parameter(0.3)]),
    "RelaxedOneHotCategorical": (
        lambda x: laws.RelaxedOneHotCategorical(real(0.7), logits=x), [parameter([0.3, -0.5, 0.2])]
    ),
    "StudentT": (laws.StudentT, [parameter(4.3), parameter(0.3), parameter(1.2)]),
    "TransformedDistribution": (
        lambda m, s: laws.TransformedDistribution(laws.Normal(m, s), [laws.SigmoidTransform(), laws.AffineTransform(1, 2)]),
        [parameter(0.3), parameter(1.2)],
    ),
    "Uniform": (lambda w: laws.Uniform(0 * w, w), [parameter(1.7)]),
    "VonMises": (laws.VonMises, [parameter(0.3), parameter(1.2)]),
    "Weibull": (laws.Weibull, [parameter(1.3), parameter(1.8)]),
    "Wishart": (lambda s: laws.Wishart(real(3.5), scale_tril=s.tril()), [parameter([[1.1, 0.0], [0.4, 0.8]])]),
}  # fmt: skip

ABSTRACT = {"Distribution", "ExponentialFamily"}
MOVING = {"Uniform"}
"""The support moves with the parameter, so that the score function says nothing."""


BIASED = {"OneHotCategoricalStraightThrough"}
"""What has rsample and a gradient that is biased by design."""


def correlated() -> Tensor:
    """The objective of LKJCholesky by a Beta law: its own sample is made in place, which autograd cannot follow."""
    c = LAWS["LKJCholesky"][1][0]
    r = 2 * laws.Beta(c, c).sample() - 1
    return f(torch.stack([torch.ones_like(r), torch.zeros_like(r), r, (1 - r.square()).sqrt()]).reshape(2, 2))


OBJECTIVES: dict[str, Function] = {"LKJCholesky": correlated}


def of_law(name: str) -> list[Row]:
    make, params = LAWS[name]
    objective = OBJECTIVES.get(name, lambda: f(make(*params).sample()))
    found = [] if name in MOVING else [Row(name, "score", params, lambda: scored(make(*params)), objective)]
    if make(*params).has_rsample:
        pathwise = lambda: f(make(*params).rsample())  # noqa: E731
        found.append(Row(name, "pathwise", params, pathwise, objective, is_right=name not in BIASED))
    return found


# Samplers: each draws a class, or classes, of the law softmax(LOGITS), or noise.

LOGITS = parameter([0.3, -0.5, 0.2])
P = parameter(0.4)
REWARD = real(1.0, -2.0, 5.0)
DATA = real(0.3, -1.2, 0.8)


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def exponential() -> Tensor:
    return torch.empty(3, dtype=torch.float64).exponential_()


def of_class(draw: Callable[[], Tensor]) -> tuple[Function, Function]:
    def loss() -> Tensor:
        index = draw()
        return REWARD[index].sum() * LOGITS.log_softmax(-1)[index].sum()

    return loss, lambda: REWARD[draw()].sum()


def first_two(draw: Callable[[], Tensor]) -> tuple[Function, Function]:
    def value(order: Tensor) -> Tensor:
        return REWARD[order[0]] * REWARD[order[1]] + REWARD[order[0]]

    def loss() -> Tensor:
        first, second = order = draw()[:2]
        log_p = LOGITS.log_softmax(-1)
        return value(order) * (log_p[first] + log_p[second] - torch.log1p(-log_p[first].exp()))

    return loss, lambda: value(draw())


def of_bit(draw: Callable[[], Tensor]) -> tuple[Function, Function]:
    def loss() -> Tensor:
        b = draw().double()
        return 3 * b * (b * P.log() + (1 - b) * torch.log1p(-P))

    return loss, lambda: 3 * draw()


def of_order(draw: Callable[[], Tensor]) -> tuple[Function, Function]:
    """A minibatch of two of three data; the loss is an average over it."""

    def value() -> Tensor:
        return (LOGITS[draw()[:2]].square() * DATA[:2]).sum()

    return value, value


def of_noise(draw: Callable[[], Tensor]) -> tuple[Function, Function]:
    def value() -> Tensor:
        return f(P * draw() + P.square())

    return value, value


def shuffled() -> tuple[Function, Function]:
    def value() -> Tensor:
        loader = DataLoader(TensorDataset(DATA), batch_size=2, shuffle=True)
        (batch,) = next(iter(loader))
        return (P * batch).sin().mean()

    return value, lambda: (P * DATA).sin().mean()


def soft() -> Tensor:
    return (REWARD * gumbel_softmax(LOGITS, tau=0.7)).sum().sin()


def hard() -> Tensor:
    return gumbel_softmax(LOGITS, tau=0.7, hard=True)


def hard_score() -> Tensor:
    one = hard().detach()
    return (one * REWARD).sum() * (one * LOGITS.log_softmax(-1)).sum()


def score_of_a_normal() -> Tensor:
    x = (P + torch.randn((), dtype=torch.float64)).detach()
    return x.tanh() * laws.Normal(P, real(1.0)).log_prob(x)


SAMPLERS: dict[str, tuple[list[Tensor], tuple[Function, Function]]] = {
    "torch.bernoulli": ([P], of_bit(lambda: torch.bernoulli(P))),
    "torch.rand < p": ([P], of_bit(lambda: torch.rand((), dtype=torch.float64) < P)),
    "torch.multinomial": ([LOGITS], of_class(lambda: torch.multinomial(LOGITS.softmax(-1), 2, replacement=True))),
    "torch.multinomial without replacement": ([LOGITS], first_two(lambda: torch.multinomial(LOGITS.softmax(-1), 2))),
    "argmax(logits + Gumbel)": ([LOGITS], of_class(lambda: (LOGITS - torch.log(-torch.log(uniform(3)))).argmax())),
    "argmax(p / Exponential)": ([LOGITS], of_class(lambda: (LOGITS.softmax(-1) / exponential()).argmax())),
    "Gumbel top-k": ([LOGITS], first_two(lambda: (LOGITS - exponential().log()).topk(2).indices)),
    "sort of Gumbel keys": ([LOGITS], first_two(lambda: (LOGITS - exponential().log()).argsort(descending=True))),
    "gumbel_softmax(hard=True), scored": ([LOGITS], (hard_score, lambda: (REWARD * hard()).sum())),
    "gumbel_softmax": ([LOGITS], (soft, soft)),
    "argsort of torch.rand": ([LOGITS], of_order(lambda: uniform(3).argsort())),
    "torch.randperm": ([LOGITS], of_order(lambda: torch.randperm(3))),
    "torch.randint": ([LOGITS], of_order(lambda: torch.randint(3, (2,)))),
    "DataLoader(shuffle=True)": ([P], shuffled()),
    "torch.rand": ([P], of_noise(lambda: uniform(2))),
    "torch.randn": ([P], of_noise(lambda: torch.randn(2, dtype=torch.float64))),
    "torch.randn, scored": ([P], (score_of_a_normal, lambda: torch.normal(P, 1.0).tanh())),
    "dropout": ([P], of_noise(lambda: dropout(DATA, 0.3))),
}  # fmt: skip


def of_sampler(name: str) -> Row:
    params, (loss, objective) = SAMPLERS[name]
    return Row(name, "sampler", params, loss, objective)


ROWS = {row.key: row for row in [*(row for name in LAWS for row in of_law(name)), *map(of_sampler, SAMPLERS)]}
