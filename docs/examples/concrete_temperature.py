"""The bias and the variance of the Concrete estimator over its temperature, certified.

As the temperature falls the bias goes to zero like the temperature, and the variance grows like one over it: there is no
temperature at which the estimator is both unbiased and of bounded variance.
"""

from fractions import Fraction

from derive.laws.bernoulli import RelaxedBernoulli

PROBABILITY = Fraction(1, 3)
TOY = (Fraction(499, 1000) ** 2, -2 * Fraction(499, 1000), Fraction(1))
TEMPERATURES = [Fraction(1, n) for n in (1, 2, 4, 8, 16, 32)]


def main() -> None:
    """Print a row for each temperature, and the limits."""
    print(f"f(b) = (b - 0.499)^2, b ~ Bernoulli({PROBABILITY}), gradient with respect to the logit\n")
    print(f"{'temperature':>11} {'bias':>12} {'bias / t':>12} {'variance':>12} {'t * variance':>13}")
    for temperature in TEMPERATURES:
        law = RelaxedBernoulli(PROBABILITY, TOY, temperature)
        bias, variance = law.concrete_bias().middle, law.concrete().variance.middle
        row = (bias, bias / temperature, variance, temperature * variance)
        print(f"{temperature!s:>11} " + " ".join(f"{float(value):12.6f}" for value in row))
    law = RelaxedBernoulli(PROBABILITY, TOY)
    print(f"{'limit':>11} {0:12.6f} {float(law.leading_bias):12.6f} {'infinity':>12} {float(law.leading_variance):12.6f}")


if __name__ == "__main__":
    main()
