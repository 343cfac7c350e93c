"""The scalars of a formula, printed as torch expressions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NoReturn

from derive.language.choice import ChoiceLaw
from derive.language.errors import UsageError
from derive.language.scope import free
from derive.language.term import (
    Add,
    Apply,
    Density,
    Entry,
    Exp,
    Expect,
    FiniteLaw,
    Grad,
    Law,
    Log,
    Mul,
    NamedLaw,
    NormalLaw,
    Number,
    Over,
    Power,
    RandomVariable,
    Score,
    Sigmoid,
    Sign,
    Slope,
    Stop,
    Symbol,
    Term,
    UniformLaw,
)
from numeric.codegen.events import Events, unknown
from numeric.codegen.expressions import (
    Code,
    Kind,
    Level,
    Shape,
    call,
    checked_identifier,
    coordinate,
    number,
    plus,
    power,
    times,
)
from numeric.codegen.families import Finite, Normal
from numeric.codegen.inventory import standardised
from numeric.codegen.laws import noise_of, unstopped
from numeric.codegen.logarithms import Exponentials, exponentials
from numeric.codegen.meaning.vectors import Form, Inner, inner_product, quadratic_form, slope_order
from numeric.codegen.named import is_inside
from numeric.codegen.named.explicit import looked_up
from numeric.codegen.named.family import Named


class Values(Events):
    """The third part of a walk: the value of every scalar."""

    @abstractmethod
    def derivative(self, term: Term) -> Code | None:
        """The derivative of a scalar by the parameter, None where it is zero; `Walk` has it."""

    @abstractmethod
    def pull(self, term: Term, slope: Code) -> Code | None:
        """The derivative by the parameter through a vector; `Walk` has it."""

    @abstractmethod
    def _moves(self, arg: Term) -> bool:
        """Whether a vector has a derivative by the parameter; `Walk` has it."""

    def value(self, term: Term) -> Code:
        """The value of a scalar of the formula; one that the estimator names gets that name."""
        code = self.given[term] if term in self.given else self._value(term)
        if term not in self.hints or code.shape is Shape.NUMBER:
            return code
        return Code(self.write.assign(self.hints[term], code.text), code.shape)

    def _value(self, term: Term) -> Code:
        match term:
            case Number(value):
                return number(value)
            case Symbol():
                self._refuse_number(term)
                return self.symbol(term)
            case Add(args):
                return self._add(args)
            case Mul(args):
                return self._quotient(args)
            case Power(base, exponent):
                return power(self.value(base), exponent)
            case Log(Density(law, at)):
                return self._log_prob(law, at)
            case Log(arg):
                return self._log(arg)
            case Exp(arg) | Sigmoid(arg) | Sign(arg):
                return call(type(term), self.value(arg))
            case Apply(Slope(), _):
                return self._slope_at(term) if self.family.name == "vector" else self._refuse_slope(term)
            case Apply():
                return self._call_user(term)
            case Entry(values, entries, at):
                return self._looked_up(term, looked_up(self.event(at), values, [self.value(one) for one in entries]))
            case Density(law, at):
                log_p = self._log_prob(law, at).text
                return Code(self.write.assign(log_p.removeprefix("log_"), f"torch.exp({log_p})"), Shape.BATCH)
            case Score(law, at, parameter):
                return self._score(law, at, parameter)
            case Expect() | Over():
                return self._enumerate(term, term.body)
            case Grad(body, parameter):
                self._check_parameter(parameter)
                return self.derivative(body) or number(Fraction(0))
            case Stop(body):
                return self.stopped(self.value(body))
            case RandomVariable() if self.family.name == "vector" or self._is_noise_of_bits(term):
                return self.event_code(term)
            case RandomVariable():
                self._refuse_vector(term)
        unknown(term)

    def _is_noise_of_bits(self, noise: RandomVariable) -> bool:
        """Whether a uniform variable is the noise behind the bits of the one law: a number for each coordinate."""
        behind = not self.several and self.family.name == "bernoulli" and self.theta == self.law_parameter
        return behind and bool(noise_of(self.estimator.formula, noise))

    def _refuse_vector(self, term: Term) -> NoReturn:
        if isinstance(term, RandomVariable) and isinstance(term.law, UniformLaw):
            message = (
                f"the formula of {self.estimator.name!r} uses the noise {term.name} as a number; that it is for the bits of one"
                " law only, one for each coordinate (--family bernoulli)."
            )
            raise UsageError(message)
        if isinstance(term, Apply) and slope_order(term):
            self._refuse_slope(term)
        name = term.name if isinstance(term, RandomVariable) else "a vector"
        message = (
            f"the formula of {self.estimator.name!r} uses {name} as a number; in the {self.family.name} family it is a vector: "
            f"use it as an argument of a function, such as f({name}), in its score, or in an inner product with a constant or "
            "with one other vector."
        )
        raise UsageError(message)

    def _refuse_slope(self, term: Apply) -> NoReturn:
        if slope_order(term) > 1:
            self._refuse_matrix(term)
        name = term.function.name
        message = (
            f"the formula of {self.estimator.name!r} uses {name} as a number; in the {self.family.name} family it is a vector, "
            f"the gradient: use it in an inner product with one other vector, such as {name}(m) * (b - m) or"
            f" {name}(x) * grad(x, theta)."
        )
        raise UsageError(message)

    def _refuse_number(self, symbol: Symbol) -> None:
        if symbol == self.by and (self.order > 1 or self.directions):
            message = (
                f"{self.estimator.name!r} uses {symbol.name} as a number, and differentiates twice by it; a matrix of second "
                f"derivatives is one of functions of the vector {symbol.name}, and of laws that depend on it."
            )
            raise UsageError(message)

    def symbol(self, symbol: Symbol) -> Code:
        """The value of a constant, or of a parameter that is given as it stands."""
        if symbol == self.theta != self.law_parameter:
            return Code(self.write.names.of(symbol), Shape.COORDINATE)
        if symbol != self.law_parameter:
            return Code(self.constant(symbol, Kind.NUMBER), Shape.NUMBER)
        if len(self.by_parameters) != 1 or symbol != self.by:
            message = (
                f"{symbol.name} stands for {' and '.join(self.by_parameters)} in the {self.family.name} family, so it "
                "has no value of its own: write it as the parameter of laws, or mu(theta) and sigma(theta)."
            )
            raise UsageError(message)
        return Code(self.wrt, Shape.COORDINATE)

    # Sums and products

    def _add(self, args: tuple[Term, ...]) -> Code:
        """A sum; a constant beside numbers for each batch element may be one itself."""
        args = self._regrouped(args)
        codes = {i: self.value(arg) for i, arg in enumerate(args) if _constant(arg, self.law_parameter) is None}
        shape = max((code.shape for code in codes.values()), default=Shape.NUMBER)
        for i, arg in enumerate(args):
            symbol = _constant(arg, self.law_parameter)
            if symbol is None or symbol == self.theta:
                codes[i] = codes.get(i) or self.value(arg)
            else:
                name = self.constant(symbol, Kind.BATCH if shape is Shape.BATCH else Kind.NUMBER)
                factors = [number(part.value) for part in getattr(arg, "args", ()) if isinstance(part, Number)]
                codes[i] = times([*factors, Code(name, Shape.NUMBER)])
        return plus([codes[i] for i in range(len(args))])

    def _regrouped(self, args: tuple[Term, ...]) -> tuple[Term, ...]:
        """Put sums that have a name back together: building a sum has spread them."""
        for named, term in self.sums.items():
            width = len(named)
            i = 0
            while width < len(args) and i + width <= len(args):
                if args[i : i + width] == named:
                    args = (*args[:i], term, *args[i + width :])
                i += 1
        return args

    def _quotient(self, args: tuple[Term, ...]) -> Code:
        if (form := self._form(args)) is not None:
            return times([*map(self.value, form.rest), self._form_value(form)])
        if (inner := self._inner_product(args)) is not None:
            return times([*map(self.value, inner.rest), self._inner_value(inner.vectors)])
        above: list[Code] = []
        below: list[Code] = []
        for arg in args:
            if isinstance(arg, Power) and arg.exponent < 0:
                below.append(power(self.value(arg.base), -arg.exponent))
            elif isinstance(arg, Number) and len(args) > 1 and arg.value.denominator > 1:
                above.append(number(Fraction(arg.value.numerator)))
                below.append(number(Fraction(arg.value.denominator)))
            else:
                above.append(self.value(arg))
        return times(above or [number(Fraction(1))], below)

    def _inner_product(self, args: Sequence[Term]) -> Inner | None:
        """The vectors of a product, and the numbers beside them; None where there are none.

        Raises
            UsageError, if a vector has no inner product there.
        """
        if self.family.name == "vector":
            return None
        if (diagonal := self._through_variance(args)) is not None:
            return diagonal
        try:
            return inner_product(args, {self.theta, self.law_parameter}, self.numbers, frozenset(self.location.functions))
        except ValueError as error:
            vector: Term = error.args[0]
        self._refuse_vector(vector)

    def _inner_value(self, vectors: Sequence[Term]) -> Code:
        moving = [vector for vector in vectors if isinstance(vector, Grad)]
        weights = self._weights([vector for vector in vectors if not isinstance(vector, Grad)])
        for vector in moving:
            self._check_parameter(vector.parameter)
            return self.pull(vector.body, weights) or number(Fraction(0))
        return Code(f"({weights.text}).sum(-1)", Shape.BATCH)

    def _form(self, args: Sequence[Term]) -> Form | None:
        """The second derivative of a product, and the two vectors that it is contracted with; None where there is none.

        Raises
            UsageError, if it meets others.
        """
        if self.family.name == "vector" or self._through_variance(args) is not None:
            return None
        try:
            return quadratic_form(args, self.location.means)
        except ValueError as error:
            matrix: Apply = error.args[0]
        self._refuse_matrix(matrix)

    def _through_variance(self, args: Sequence[Term]) -> Inner | None:
        """f''(z) sigma d sigma, or f''(z) d(sigma^2): the covariance is diagonal, and so is what is left of the matrix.

        None for all else. This is Price's theorem (Rezende et al. 2014, equation 8).
        """
        matrices = [arg for arg in args if slope_order(arg) == 2]
        scales = [arg for arg in args if self._degree_in_scale(arg)]
        moving = [arg for arg in scales if isinstance(arg, Grad)]
        if len(matrices) != 1 or len(moving) != 1 or sum(map(self._degree_in_scale, scales)) != 2:
            return None
        return Inner((matrices[0], *scales), tuple(arg for arg in args if arg not in scales and arg != matrices[0]))

    def _degree_in_scale(self, term: Term) -> int:
        """How often sigma(theta) stands in a power of it, or in the derivative of one; 0 for all else."""
        match term:
            case Grad(body, _) | Stop(body):
                return self._degree_in_scale(body)
            case Power(base, exponent):
                return exponent * self._degree_in_scale(base)
        return int(self.location.of(term) == "scale")

    def _form_value(self, form: Form) -> Code:
        bent, other = self._bent(form.matrix, self._weight(form.vectors[0])), form.vectors[1]
        if isinstance(other, Grad):
            self._check_parameter(other.parameter)
            return self.pull(other.body, bent) or number(Fraction(0))
        return Code(f"({times([bent, self._weight(other)]).text}).sum(-1)", Shape.BATCH)

    def _weights(self, vectors: Sequence[Term]) -> Code:
        """The product of vectors, coordinate by coordinate; a constant may be a vector too."""
        return times([self._weight(vector) for vector in vectors])

    def _weight(self, vector: Term) -> Code:
        if isinstance(vector, Symbol):
            return Code(self.constant(vector, Kind.VECTOR), Shape.COORDINATE)
        if isinstance(vector, Apply) and slope_order(vector) == 2:
            return self._curvature_at(vector)
        return self.event_code(vector)

    # Logarithms

    def _log(self, arg: Term) -> Code:
        """log of a sum of exponentials by logsumexp; any other log as it stands."""
        terms = exponentials(arg)
        if terms is None:
            return call(Log, self.value(arg))
        if len(terms) == 1:
            coefficient, exponent = terms[0]
            return plus([self.value(exponent), *_log_of(coefficient)])
        stack, common = self._stack(terms)
        hint = "log_mean" if sum(coefficient for coefficient, _ in terms) == 1 else "log_sum"
        total = plus([Code(f"torch.logsumexp({stack}, 0)", Shape.BATCH), *_log_of(common)])
        return Code(self.write.assign(self.hints.get(Log(arg), hint), total.text), Shape.BATCH)

    def _stack(self, terms: Exponentials) -> tuple[str, Fraction]:
        """The exponents in one tensor, first dimension, and the coefficient that they have in common."""
        common = terms[0][0] if len({coefficient for coefficient, _ in terms}) == 1 else Fraction(1)
        codes = [plus([self._exponent(exponent), *_log_of(c / common)]) for c, exponent in terms]
        if any(code.shape is not Shape.BATCH for code in codes):
            message = (
                f"the formula of {self.estimator.name!r} has a sum of exponentials, some of which do not depend on a sample or "
                "depend on each coordinate; the generated code knows sums of exponentials of functions of samples."
            )
            raise UsageError(message)
        listed = ", ".join(code.text for code in codes)
        same = len({self._drawn_or_bound(exponent) for _, exponent in terms}) == 1
        stacked = f"torch.stack([{listed}])" if same else f"torch.stack(torch.broadcast_tensors({listed}))"
        return self.write.assign("log_weights", stacked), common

    def _exponent(self, term: Term) -> Code:
        """The log of one weight; a sum about one sample gets a name and keeps it wherever it occurs."""
        variables = [leaf for leaf in free(term) if isinstance(leaf, RandomVariable)]
        if isinstance(term, Add) and len(variables) == 1 and term not in self.hints:
            suffix = checked_identifier(variables[0].name).rpartition("_")[2]
            self.sums[term.args] = term
            self.hints[term] = f"log_w_{suffix}"
        return self.value(term)

    def _drawn_or_bound(self, term: Term) -> tuple[bool, frozenset[str]]:
        variables = [leaf for leaf in free(term) if isinstance(leaf, RandomVariable)]
        return bool(variables), frozenset(self.bound[leaf] for leaf in variables if leaf in self.bound)

    # Laws

    def _score(self, law: Law, at: Term, parameter: Symbol) -> Code:
        self._check_parameter(parameter)
        b = self.event(at)
        if isinstance(law, NormalLaw):
            code = self._score_of_normal(law, b)
        elif isinstance(law, NamedLaw):
            code = self._score_of_named(law, b)
        else:
            code = self.by_logits(law, self.law(law).score(b, self.wrt, self.write.assign))
        if code is None:
            return number(Fraction(0))
        of = f"{law.name}_{b}" if self.several and isinstance(law, FiniteLaw) else b
        alone = (self.several and isinstance(law, FiniteLaw)) or len(self.family.parameters) == 1
        hint = f"score_{of}" if alone else f"score_{of}_{self.wrt}"
        return Code(self.write.assign(hint, code.text), Shape.COORDINATE)

    def _score_of_normal(self, law: NormalLaw, b: str) -> Code | None:
        """Through its mean and its standard deviation, where those are no tensors themselves."""
        family = self.law(law)
        if self.location.holds(law):
            if self.wrt not in family.parameters:
                return None
            score = coordinate(family.score(b, self.wrt, self.write.assign))
            return self.by_location(law.loc if self.wrt == "loc" else law.scale, score)
        if not isinstance(family, Normal):
            return None
        standard, scale = family.standard(b, self.write.assign), family.scale
        through_loc = self.pull(law.loc, Code(f"{standard} / {scale}", Shape.COORDINATE, Level.PRODUCT))
        through_scale = self.pull(law.scale, Code(f"({standard}**2 - 1) / {scale}", Shape.COORDINATE, Level.PRODUCT))
        found = [code for code in (through_loc, through_scale) if code is not None]
        return plus(found) if found else None

    def _score_of_named(self, law: NamedLaw, b: str) -> Code | None:
        """Through each parameter that moves; of an explicit law the derivative of the probability, over the probability."""
        if isinstance(law, ChoiceLaw):
            slopes = [self.derivative(term) or number(Fraction(0)) for term in law.terms]
            tables = (looked_up(b, law.values, codes) for codes in (slopes, [self.value(term) for term in law.terms]))
            above, below = (Code(table, Shape.COORDINATE) for table in tables)
            return times([above], [below])
        family, moving = self.named(law), [(i, term) for i, term in enumerate(law.terms) if self._moves(term)]
        found = [self.pull(term, family.slope(b, i, self.write.assign)) for i, term in moving]
        present = [code for code in found if code is not None]
        return plus(present) if present else None

    def _log_prob(self, law: Law, at: Term) -> Code:
        if isinstance(law, NamedLaw):
            return self._log_prob_of_named(law, at)
        b, standard = self.event(at), standardised(law, at) if isinstance(law, NormalLaw) else None
        name = checked_identifier(law.name) if isinstance(law, FiniteLaw) else "q"
        text = self.law(law).log_prob(b, self.write.assign, None if standard is None else self.event(standard))
        return Code(self.write.assign(f"log_{name}_{b}", text), Shape.BATCH)

    def _log_prob_of_named(self, law: NamedLaw, at: Term) -> Code:
        b, family, drawn = self.event(at), self.named(law), unstopped(at)
        own = isinstance(drawn, RandomVariable) and is_inside(drawn.law, law)
        text = (family.log_prob if own else family.log_prob_anywhere)(b, self.write.assign)
        return Code(self.write.assign(f"log_{family.name}_{b}", text), Shape.BATCH)

    def _enumerate(self, term: Expect | Over, body: Term, read: Callable[[Term], Code] | None = None) -> Code:
        """E or the sum over every outcome of a finite law, with `body` in place of the body of the term."""
        variable = term.variable
        family = self.law(variable.law)
        if isinstance(family, Named):
            message = (
                "the generated code takes no mean under a law with a name inside a formula, as that over"
                f" {variable.name} of {self.estimator.name!r}: draw another variable."
            )
            raise UsageError(message)
        if not isinstance(family, Finite):
            message = (
                f"the {self.family.name} family has no finite set of outcomes, so the expectation over {variable.name} inside "
                f"the formula of {self.estimator.name!r} cannot be computed; it runs in the bernoulli and categorical families."
            )
            raise UsageError(message)
        self.enumerates = True
        shape = self._outer_shape(body, variable, family.logits)
        every = self.write.assign(f"every_{variable.name}", f"every_outcome({family.logits}, {shape})")
        outer = self.bound.get(variable)
        self.bound[variable] = every
        self.shapes.append(f"{every}.shape")
        summand = self._weighted(term, body, read or self.value)
        self.shapes.pop()
        self.bound.pop(variable)
        if outer is not None:
            self.bound[variable] = outer
        if summand.text == "0":
            return summand
        return Code(f"{summand.at(Level.ATOM)}.sum(0)", summand.shape)

    def _weighted(self, term: Expect | Over, body: Term, read: Callable[[Term], Code]) -> Code:
        if isinstance(term, Expect):
            return read(Density(term.variable.law, term.variable) * body)
        ones = Code(f"torch.ones_like({self.bound[term.variable]}[..., 0])", Shape.BATCH)
        return times([ones, read(body)])

    def _outer_shape(self, body: Term, variable: RandomVariable, logits: str) -> str:
        """The shape that the outcomes extend: the whole outer one if an outer variable is used, else that of the logits."""
        leaves = free(body).union(*(free(term) for term in variable.law.terms))
        outside = sorted({leaf.name: leaf for leaf in leaves if isinstance(leaf, RandomVariable) and leaf != variable}.items())
        if not outside:
            return f"{logits}.shape"
        shape = self.shapes[-1] if self.shapes else f"{self.event(outside[0][1])}.shape"
        return f"(*{shape}[:-1], {logits}.shape[-1])" if self.several else shape


def _constant(term: Term, law_parameter: Symbol) -> Symbol | None:
    """The constant of a term that is a constant, or a number times one."""
    factors: Iterable[Term] = term.args if isinstance(term, Mul) else (term,)
    others = [factor for factor in factors if not isinstance(factor, Number)]
    return others[0] if len(others) == 1 and isinstance(others[0], Symbol) and others[0] != law_parameter else None


def _log_of(coefficient: Fraction) -> list[Code]:
    """The logarithm of a coefficient as a summand; none for 1."""
    if coefficient == 1:
        return []
    if coefficient.numerator == 1:
        return [Code(f"-math.log({coefficient.denominator})", Shape.NUMBER, Level.PRODUCT)]
    return [Code(f"math.log({number(coefficient).text})", Shape.NUMBER)]
