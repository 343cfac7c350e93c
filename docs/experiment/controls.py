"""Control variates c_phi(z) with parameters of their own for every replicate, and their derivatives in those parameters.

The estimate of RELAX is affine in its control: g = g_f + L(c), with L linear for fixed noise. So dg/dphi_k = L(dc/dphi_k), and
the generated code computes that when it is given the function dc/dphi_k in place of c, and 0 in place of f. The gradient of
the single-sample g^2 is 2 g dg/dphi; nothing of the estimator is written anew. A control therefore has rows: c first, then its
derivative in each parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log

import torch
from torch import Tensor

TARGET = 0.501


def objective(b: Tensor) -> Tensor:
    """f(b) = (0.501 - b)^2, outcomes (..., 1) to values (...)."""
    return (TARGET - b).square().sum(-1)


class Control(ABC):
    """A family of control variates; `phi` has shape (replicates, parameters), z has shape (..., replicates, 1)."""

    @abstractmethod
    def start(self, replicates: int, generator: torch.Generator) -> Tensor:
        """The first value of phi."""

    @abstractmethod
    def parts(self, phi: Tensor, z: Tensor) -> list[Tensor]:
        """C(z) and its derivative in each parameter, each of shape (..., replicates)."""

    def value(self, phi: Tensor, z: Tensor) -> Tensor:
        """C(z)."""
        return self.parts(phi, z)[0]

    def rows(self, phi: Tensor, z: Tensor) -> Tensor:
        """Row k of z, shape (1 + parameters, ..., replicates, 1), under part k."""
        return torch.stack([part[k] for k, part in enumerate(self.parts(phi, z))])


class Rebar(Control):
    """C(z) = eta f(sigma(z / lambda)), the control of Tucker et al. (2017); phi = (eta, log lambda)."""

    def __init__(self, eta: float = 1.0, temperature: float = 0.5) -> None:
        self.first = (eta, log(temperature))

    def start(self, replicates: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([self.first] * replicates, dtype=torch.float64)

    def parts(self, phi: Tensor, z: Tensor) -> list[Tensor]:
        eta, rate = phi[:, 0], (-phi[:, 1]).exp()
        x = z[..., 0] * rate
        s = torch.sigmoid(x)
        f, slope = (TARGET - s).square(), 2 * (s - TARGET) * s * (1 - s)
        return [eta * f, f, -eta * slope * x]


class Sigmoid(Control):
    """C(z) = sigma(z / lambda), not f of it: what the code published by the note's author uses; phi = (lambda), from 5."""

    def start(self, replicates: int, generator: torch.Generator) -> Tensor:
        return torch.full((replicates, 1), 5.0, dtype=torch.float64)

    def parts(self, phi: Tensor, z: Tensor) -> list[Tensor]:
        temperature = phi[:, 0]
        x = z[..., 0] / temperature
        s = torch.sigmoid(x)
        return [s, -s * (1 - s) * x / temperature]


class Network(Control):
    """C(z) = d + sum over j of a_j tanh(w_j x + h_j), x = 2 sigma(z) - 1: one hidden layer; phi = (a, w, h, d).

    The size and the input are those of the toy experiment of Grathwohl et al. (2018).
    """

    def __init__(self, width: int = 10) -> None:
        self.width = width

    def start(self, replicates: int, generator: torch.Generator) -> Tensor:
        uniform = 2 * torch.rand((replicates, 3 * self.width + 1), generator=generator, dtype=torch.float64) - 1
        inside = torch.zeros(3 * self.width + 1, dtype=torch.bool)
        inside[self.width : 3 * self.width] = True
        return torch.where(inside, uniform, uniform / self.width**0.5)

    def _split(self, phi: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, w, h = phi[:, :-1].unflatten(1, (3, self.width)).unbind(1)
        x = torch.tanh(z / 2)
        return a, torch.tanh(w * x + h), x, phi[:, -1]

    def parts(self, phi: Tensor, z: Tensor) -> list[Tensor]:
        a, t, x, d = self._split(phi, z)
        bend = a * (1 - t.square())
        one = torch.ones_like(x)
        return [(a * t).sum(-1) + d, *t.unbind(-1), *(bend * x).unbind(-1), *bend.unbind(-1), one[..., 0]]

    def value(self, phi: Tensor, z: Tensor) -> Tensor:
        a, t, _, d = self._split(phi, z)
        return (a * t).sum(-1) + d

    def rows(self, phi: Tensor, z: Tensor) -> Tensor:
        """The same as in the base class, without computing every part for every row."""
        a, t, x, d = self._split(phi, z)
        n, bend = self.width, a * (1 - t.square())
        pick = torch.eye(n, dtype=z.dtype).reshape(n, *[1] * (z.ndim - 2), n)
        first = (a * t[0]).sum(-1) + d
        outer = (pick * t[1 : n + 1]).sum(-1)
        inner = (pick * bend[n + 1 : 2 * n + 1] * x[n + 1 : 2 * n + 1]).sum(-1)
        shift = (pick * bend[2 * n + 1 : 3 * n + 1]).sum(-1)
        return torch.cat([first[None], outer, inner, shift, torch.ones_like(x[-1:, ..., 0])])
