"""The text of each family: how its law is drawn, scored, relaxed and differentiated, printed as torch expressions.

Nothing here imports torch. Each method takes the names of the tensors that stand for its arguments and returns an expression;
`assign(hint, text)` gives an expression a name in the generated function. A `pull_*` method is the transposed derivative: it
takes the derivative of a number with respect to the output of a map and returns that with respect to its input; a `push_*`
method is the derivative itself, from a direction of the input to one of the output. Relaxed thresholds have symmetric
derivatives, so that `pull_soft` is both.

The parameters are logits (bernoulli, categorical), or loc and log_scale (normal); the last dimension is the event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from derive.language.errors import UsageError

Assign = Callable[[str, str], str]

EVERY_BITS = '''
def every_outcome(logits, shape):
    """Return all 2**n bit vectors, shape (2**n, *shape), where n = shape[-1]."""
    n = shape[-1]
    numbers = torch.arange(2**n, device=logits.device)
    bits = (numbers[:, None] >> torch.arange(n, device=logits.device)) & 1
    return bits.to(logits.dtype).reshape(2**n, *[1] * (len(shape) - 1), n).expand(2**n, *shape)
'''

EVERY_CLASS = '''
def every_outcome(logits, shape):
    """Return all K one-hot vectors, shape (K, *shape), where K = shape[-1]."""
    k = shape[-1]
    classes = torch.eye(k, dtype=logits.dtype, device=logits.device)
    return classes.reshape(k, *[1] * (len(shape) - 1), k).expand(k, *shape)
'''

BERNOULLI = '''
def bernoulli(p, shape, generator):
    """Return bits that are one with probability p; many on a CPU by comparison: the same bits, and sooner."""
    plain = math.prod(shape) < 512 or p.device.type != "cpu" or p.itemsize < 4
    if plain or torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        return torch.bernoulli(p.expand(shape), generator=generator)
    return torch.rand(shape, generator=generator, dtype=p.dtype, device=p.device).lt_(p)
'''

ROW_OF_BITS = '''
def row_of(b):
    """Return which row of a table belongs to bits b, one-hot, shape (..., 2**n): the first bit is the lowest."""
    n = b.shape[-1]
    number = (b.long() << torch.arange(n, device=b.device)).sum(-1, keepdim=True)
    return (number == torch.arange(2**n, device=b.device)).to(b.dtype)
'''


class Family(ABC):
    """What the generator asks of a family; a family that has no such thing raises a UsageError that says so."""

    name = ""
    parameters: tuple[str, ...] = ("logits",)
    argument: str = "logits"
    shapes: str = ""
    every_outcome = ""
    every_row = ""
    sampler = ""

    def row(self, b: str) -> str:
        """Which row of a table belongs to an outcome that a law is given, one-hot."""
        return b

    def unpack(self) -> list[str]:
        """The statements that open every generated function."""
        return []

    @abstractmethod
    def draw(self, shape: str, at: str = "") -> list[str]:
        """The expression of one draw of the law, with the statements that it needs before it; the expression is last.

        `at` is what gives the parameters a dimension for several draws at once.
        """

    @abstractmethod
    def score(self, b: str, parameter: str, assign: Assign) -> str:
        """d log p(b) / d parameter, shape (*batch, n)."""

    @abstractmethod
    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        """log p(b), shape (*batch); `standard` is (b - loc) / scale where a normal family has it already."""

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        """d log p(b) / d b, shape (*batch, n), with the parameters held fixed."""
        message = f"the {self.name} family has outcomes that do not move, so its density is not differentiated by them."
        raise UsageError(message)

    @abstractmethod
    def mean(self, assign: Assign) -> str:
        """E[b], shape (*batch, n)."""

    @abstractmethod
    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str | None:
        """Back from E[b] to a parameter; None where E[b] does not depend on that one."""

    def latent(self, u: str, assign: Assign) -> str:
        self._refuse("latent variable z = h(u, theta)")

    def pull_latent(self, slope: str, assign: Assign) -> str:
        self._refuse("latent variable z = h(u, theta)")

    def push_latent(self, direction: str, assign: Assign) -> str:
        self._refuse("latent variable z = h(u, theta)")

    def threshold(self, z: str) -> str:
        self._refuse("threshold b = H(z)")

    def conditional(self, v: str, b: str, hint: str, assign: Assign) -> str:
        self._refuse("conditional latent variable h_tilde(v, b, theta)")

    def pull_conditional(self, slope: str, v: str, b: str, hint: str, assign: Assign) -> str:
        self._refuse("conditional latent variable h_tilde(v, b, theta)")

    def push_conditional(self, direction: str, v: str, b: str, hint: str, assign: Assign) -> str:
        self._refuse("conditional latent variable h_tilde(v, b, theta)")

    def soft(self, z: str, temperature: str) -> str:
        self._refuse("relaxed threshold sigma(z, lambda)")

    def pull_soft(self, slope: str, s: str, temperature: str) -> str:
        self._refuse("relaxed threshold sigma(z, lambda)")

    def bend_soft(self, direction: str, ds: str, s: str, temperature: str) -> str:
        """How `pull_soft(direction, s, temperature)` changes with s in the direction ds, the temperature held fixed."""
        self._refuse("relaxed threshold sigma(z, lambda)")

    def _refuse(self, what: str) -> NoReturn:
        message = f"the {self.name} family has no {what}: this formula runs in the bernoulli and categorical families only."
        raise UsageError(message)


@dataclass(frozen=True)
class Finite(Family):
    """A family of finite laws; `logits` is the expression of those of one law."""

    logits: str = "logits"

    def named(self, hint: str) -> str:
        """A name for what belongs to this law: log_p of the only one, log_mu of one of several."""
        return hint if self.logits == "logits" else f"{hint.removesuffix('_p')}_{self.logits.replace('_logits', '', 1)}"


class Bernoulli(Finite):
    """n independent bits with logits l: p(b) = prod sigmoid(l)^b sigmoid(-l)^(1-b)."""

    name = "bernoulli"
    shapes = "logits has shape (*batch, n): n independent bits"
    every_outcome = EVERY_BITS
    every_row = ROW_OF_BITS
    sampler = BERNOULLI

    def row(self, b: str) -> str:
        return f"row_of({b})"

    def draw(self, shape: str, at: str = "") -> list[str]:
        return [f"bernoulli(torch.sigmoid({self.logits}){at}, {shape}, generator)"]

    def score(self, b: str, parameter: str, assign: Assign) -> str:
        return f"{b} - {self.mean(assign)}"

    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        return f"logsigmoid((2 * {b} - 1) * {self.logits}).sum(-1)"

    def mean(self, assign: Assign) -> str:
        return assign(self.named("p"), f"torch.sigmoid({self.logits})")

    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str:
        return f"{slope} * {self.mean(assign)} * torch.sigmoid(-{self.logits})"

    def latent(self, u: str, assign: Assign) -> str:
        return f"{self.logits} + torch.logit({u})"

    def pull_latent(self, slope: str, assign: Assign) -> str:
        return slope

    def push_latent(self, direction: str, assign: Assign) -> str:
        return direction

    def threshold(self, z: str) -> str:
        return f"({z} >= 0).to({z}.dtype)"

    def conditional(self, v: str, b: str, hint: str, assign: Assign) -> str:
        """Tucker et al. 2017, appendix: u given b is an affine map of v; logit of it, with the cancelling terms removed.

        That given b = 0 is minus that given b = 1 at -logits and 1 - v: the logarithms are selected, what follows is shared.
        """
        log_v, log_rest = self._logs(v, assign)
        other = assign(f"log_{v}_other", f"torch.lerp({log_v}, {log_rest}, {b})")
        return f"{self._sign(b, assign)} * (logsigmoid({self._odds(v, b, hint, assign)}) + {other})"

    def pull_conditional(self, slope: str, v: str, b: str, hint: str, assign: Assign) -> str:
        return f"{slope} * {assign(f'd{hint}', f'torch.sigmoid(-{self._odds(v, b, hint, assign)})')}"

    def _odds(self, v: str, b: str, hint: str, assign: Assign) -> str:
        log_v, log_rest = self._logs(v, assign)
        own = assign(f"log_{v}_own", f"torch.lerp({log_rest}, {log_v}, {b})")
        return assign(f"odds_{hint}", f"{self._sign(b, assign)} * {self.logits} - {own}")

    def _logs(self, v: str, assign: Assign) -> tuple[str, str]:
        return assign(f"log_{v}", f"torch.log({v})"), assign(f"log_1_{v}", f"torch.log1p(-{v})")

    def _sign(self, b: str, assign: Assign) -> str:
        return assign(f"sign_{b}", f"1 - 2 * {b}")

    def push_conditional(self, direction: str, v: str, b: str, hint: str, assign: Assign) -> str:
        return self.pull_conditional(direction, v, b, hint, assign)

    def soft(self, z: str, temperature: str) -> str:
        return f"torch.sigmoid({z} / {temperature})"

    def pull_soft(self, slope: str, s: str, temperature: str) -> str:
        return f"{slope} * {s} * (1 - {s}) / {temperature}"

    def bend_soft(self, direction: str, ds: str, s: str, temperature: str) -> str:
        return f"{direction} * {ds} * (1 - 2 * {s}) / {temperature}"


class Categorical(Finite):
    """One of K classes, b one-hot; the relaxation is Gumbel: z = log p + g, b = argmax z."""

    name = "categorical"
    shapes = "logits has shape (*batch, K): one class of K for each batch element"
    every_outcome = EVERY_CLASS

    def draw(self, shape: str, at: str = "") -> list[str]:
        return [
            f"probabilities = torch.softmax({self.logits}, -1){at}.expand({shape})",
            f"classes = torch.multinomial(probabilities.reshape(-1, {self.logits}.shape[-1]), 1, generator=generator)",
            "torch.zeros_like(probabilities).scatter(-1, classes.reshape(*probabilities.shape[:-1], 1), 1.0)",
        ]

    def score(self, b: str, parameter: str, assign: Assign) -> str:
        return f"{b} - {self.mean(assign)}"

    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        return f"({b} * {self._log_p(assign)}).sum(-1)"

    def mean(self, assign: Assign) -> str:
        return assign(self.named("p"), f"torch.softmax({self.logits}, -1)")

    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str:
        mean = self.mean(assign)
        return f"{mean} * ({slope} - ({slope} * {mean}).sum(-1, keepdim=True))"

    def latent(self, u: str, assign: Assign) -> str:
        return f"{self._log_p(assign)} - torch.log(-torch.log({u}))"

    def pull_latent(self, slope: str, assign: Assign) -> str:
        """From log p = log_softmax(logits) to the logits."""
        slope = assign("slope", slope)
        return f"{slope} - {self.mean(assign)} * {slope}.sum(-1, keepdim=True)"

    def push_latent(self, direction: str, assign: Assign) -> str:
        direction = assign("direction", direction)
        return f"{direction} - ({self.mean(assign)} * {direction}).sum(-1, keepdim=True)"

    def threshold(self, z: str) -> str:
        return f"torch.zeros_like({z}).scatter(-1, {z}.argmax(-1, keepdim=True), 1.0)"

    def conditional(self, v: str, b: str, hint: str, assign: Assign) -> str:
        """Grathwohl et al. 2018, appendix: the winner is a Gumbel, the others are Gumbels truncated at it."""
        logs = assign(f"log_e_{v}", f"torch.log(-torch.log({v}))")
        winner = assign(f"log_e_{v}_winner", f"({b} * {logs}).sum(-1, keepdim=True)")
        others = assign(f"{hint}_others", f"-torch.logaddexp({logs} - {self._log_p(assign)}, {winner})")
        return f"torch.where({b} > 0, -{logs}, {others})"

    def pull_conditional(self, slope: str, v: str, b: str, hint: str, assign: Assign) -> str:
        return self.pull_latent(f"{slope} * {self._share(v, b, hint, assign)}", assign)

    def push_conditional(self, direction: str, v: str, b: str, hint: str, assign: Assign) -> str:
        return f"{self._share(v, b, hint, assign)} * {assign('d_log_p', self.push_latent(direction, assign))}"

    def _share(self, v: str, b: str, hint: str, assign: Assign) -> str:
        """d z_tilde / d log p of the same class: that of the winner does not move."""
        logs = assign(f"log_e_{v}", f"torch.log(-torch.log({v}))")
        winner = assign(f"log_e_{v}_winner", f"({b} * {logs}).sum(-1, keepdim=True)")
        return assign(f"d{hint}", f"(1 - {b}) * torch.sigmoid({logs} - {self._log_p(assign)} - {winner})")

    def soft(self, z: str, temperature: str) -> str:
        return f"torch.softmax({z} / {temperature}, -1)"

    def pull_soft(self, slope: str, s: str, temperature: str) -> str:
        return f"{s} * ({slope} - ({slope} * {s}).sum(-1, keepdim=True)) / {temperature}"

    def bend_soft(self, direction: str, ds: str, s: str, temperature: str) -> str:
        moved = f"{ds} * ({direction} - ({direction} * {s}).sum(-1, keepdim=True))"
        return f"({moved} - {s} * ({direction} * {ds}).sum(-1, keepdim=True)) / {temperature}"

    def _log_p(self, assign: Assign) -> str:
        return assign(self.named("log_p"), f"torch.log_softmax({self.logits}, -1)")


@dataclass(frozen=True)
class Normal(Family):
    """n independent normal coordinates with mean loc and standard deviation exp(log_scale).

    `loc`, `scale` and `log_scale` are the expressions of a law of another mean and scale.
    """

    loc: str = "loc"
    scale: str = "scale"
    log_scale: str = "log_scale"

    name = "normal"
    parameters: tuple[str, ...] = ("loc", "log_scale")
    argument: str = "params"
    shapes: str = 'params is {"loc": ..., "log_scale": ...}, both of shape (*batch, n): n independent normal coordinates'

    def unpack(self) -> list[str]:
        return ['loc, log_scale = params["loc"], params["log_scale"]', "scale = torch.exp(log_scale)"]

    def draw(self, shape: str, at: str = "") -> list[str]:
        return [
            f"{self.loc}{at} + {self.scale}{at} * torch.randn({shape}, generator=generator, dtype=loc.dtype, device=loc.device)"
        ]

    def score(self, b: str, parameter: str, assign: Assign) -> str:
        standard = self.standard(b, assign)
        return f"{standard} / {self.scale}" if parameter == "loc" else f"{standard}**2 - 1"

    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        standard = standard or self.standard(b, assign)
        return f"(-0.5 * {standard}**2 - {self.log_scale} - 0.5 * math.log(2 * math.pi)).sum(-1)"

    def pull_log_prob(self, b: str, assign: Assign) -> str:
        return f"-{self.standard(b, assign)} / {self.scale}"

    def standard(self, b: str, assign: Assign) -> str:
        """The name of b less its mean, over its standard deviation."""
        return assign(f"{b}_standard", f"({b} - {self.loc}) / {self.scale}")

    def mean(self, assign: Assign) -> str:
        return self.loc

    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str | None:
        return slope if parameter == "loc" else None


class Vector(Family):
    """A parameter that is a vector of n real numbers itself, and stands in the formula: no law has it as its logits."""

    name = "vector"
    parameters: tuple[str, ...]
    argument: str
    shapes: str = "theta has shape (*batch, n): n real numbers"

    def __init__(self, theta: str = "theta") -> None:
        self.parameters, self.argument = (theta,), theta
        self.shapes = f"{theta} has shape (*batch, n): n real numbers"

    def draw(self, shape: str, at: str = "") -> list[str]:
        self._refuse("law of its own")

    def score(self, b: str, parameter: str, assign: Assign) -> str:
        self._refuse("score of its own")

    def log_prob(self, b: str, assign: Assign, standard: str | None = None) -> str:
        self._refuse("density of its own")

    def mean(self, assign: Assign) -> str:
        self._refuse("mean of its own")

    def pull_mean(self, slope: str, parameter: str, assign: Assign) -> str | None:
        self._refuse("mean of its own")


FAMILIES: dict[str, Family] = {family.name: family for family in (Bernoulli(), Categorical(), Normal(), Vector())}


def family_of(name: str) -> Family:
    """Return a family by its name.

    Raises
        UsageError, if there is no such family.

    >>> family_of("bernoulli").parameters
    ('logits',)
    """
    if name not in FAMILIES:
        message = f"no family is called {name!r}; expected one of {', '.join(FAMILIES)}."
        raise UsageError(message)
    return FAMILIES[name]
