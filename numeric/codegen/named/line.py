"""Laws on the whole line with a location and a scale: z = (x - loc) / scale."""

from __future__ import annotations

from abc import abstractmethod

from numeric.codegen.expressions import Code, Level, Shape, plus, times
from numeric.codegen.families import Assign
from numeric.codegen.named.family import Named, below, less_one, log, minus, of


class Line(Named):
    """A law of which the standard one is known: its log-density g(z), the slope g'(z), and how it is drawn.

    log p(x) = g(z) - log scale, so the derivatives are -g'(z) / scale, (-z g'(z) - 1) / scale, and by x g'(z) / scale.
    """

    @abstractmethod
    def standard(self, z: Code) -> Code:
        """g(z)."""

    @abstractmethod
    def falls(self, z: Code) -> Code:
        """-g'(z)."""

    @abstractmethod
    def noise(self) -> list[str]:
        """The statements that compute z from the noise of `source`, the last one an expression."""

    def source(self, shape: str) -> str:
        """The statement that draws the noise of which z is computed."""
        return self.uniform(shape)

    def turns(self, z: Code) -> Code:
        """-z g'(z)."""
        return times([z, self.falls(z)])

    def draw(self, shape: str, at: str = "") -> list[str]:
        loc, scale = self.given
        *before, noise = self.noise()
        return [self.source(shape), *before, plus([loc, times([scale, Code(noise, Shape.COORDINATE, Level.PRODUCT)])]).text]

    def log_density(self, x: str, assign: Assign) -> Code:
        return plus([self.standard(self._z(x, assign)), minus(log(self.given[1]))])

    def slope(self, x: str, i: int, assign: Assign) -> Code:
        z = self._z(x, assign)
        return times([self.falls(z) if i == 0 else less_one(self.turns(z))], below(self.given[1]))

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        return minus(times([self.falls(self._z(b, assign))], below(self.given[1]))).text

    def _z(self, x: str, assign: Assign) -> Code:
        loc, scale = self.given
        return of(assign(f"{x}_standard", times([plus([of(x), minus(loc)])], below(scale)).text))


class Laplace(Line):
    """g(z) = -|z| - log 2; z = -sign(v) log(1 - |v|), where v is uniform on (-1, 1)."""

    name = "laplace"

    def standard(self, z: Code) -> Code:
        return Code(f"-torch.abs({z.text}) - math.log(2)", z.shape, Level.SUM)

    def falls(self, z: Code) -> Code:
        return Code(f"torch.sign({z.text})", z.shape)

    def turns(self, z: Code) -> Code:
        return Code(f"torch.abs({z.text})", z.shape)

    def noise(self) -> list[str]:
        return ["centred = 2 * uniform - 1", "-torch.sign(centred) * torch.log1p(-torch.abs(centred))"]


class Logistic(Line):
    """g(z) = log sigmoid(z) + log sigmoid(-z); z = logit(u)."""

    name = "logistic"

    def standard(self, z: Code) -> Code:
        return Code(f"logsigmoid({z.text}) + logsigmoid(-{z.text})", z.shape, Level.SUM)

    def falls(self, z: Code) -> Code:
        return Code(f"torch.tanh({z.text} / 2)", z.shape)

    def noise(self) -> list[str]:
        return ["torch.logit(uniform)"]


class Gumbel(Line):
    """g(z) = -z - exp(-z); z = -log(-log u)."""

    name = "gumbel"

    def standard(self, z: Code) -> Code:
        return Code(f"-{z.text} - torch.exp(-{z.text})", z.shape, Level.SUM)

    def falls(self, z: Code) -> Code:
        return Code(f"-torch.expm1(-{z.text})", z.shape, Level.PRODUCT)

    def noise(self) -> list[str]:
        return ["-torch.log(-torch.log(uniform))"]


class Maxwell(Line):
    """g(z) = 2 log|z| - z^2 / 2 - log sqrt(2 pi); |z| is the length of three normal variables, of which one gives the sign.

    At z = 0 the density is zero: log p is -inf there, as it should be, and the derivative by the location infinite. A sample
    that is rounded to the location is moved to the next number.
    """

    name = "maxwell"

    def standard(self, z: Code) -> Code:
        return Code(f"2 * torch.log(torch.abs({z.text})) - {z.text}**2 / 2 - math.log(2 * math.pi) / 2", z.shape, Level.SUM)

    def falls(self, z: Code) -> Code:
        return Code(f"{z.text} - 2 / {z.text}", z.shape, Level.SUM)

    def turns(self, z: Code) -> Code:
        return Code(f"{z.text}**2 - 2", z.shape, Level.SUM)

    def source(self, shape: str) -> str:
        like = f"generator=generator, dtype={self.like}.dtype, device={self.like}.device"
        return f"normals = torch.randn((3, *{shape}), {like})"

    def noise(self) -> list[str]:
        return ["torch.copysign(normals.square().sum(0).sqrt(), normals.select(0, 0))"]

    def draw(self, shape: str, at: str = "") -> list[str]:
        *before, drawn = super().draw(shape, at)
        return [*before, f"drawn = {drawn}", f"drawn + (drawn == {self.given[0].text}) * (2 * eps * drawn + tiny)"]
