"""The K-sample bounds of a latent variable with three values: log p(x) >= L_K >= L_M for K >= M, and L_K -> log p(x)."""

from fractions import Fraction

from derive.laws.bounds import FiniteLatent

LATENT = FiniteLatent(
    proposal=(Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)),
    joint=(Fraction(1, 10), Fraction(1, 20), Fraction(1, 5)),
)
SAMPLES = (1, 2, 3, 5, 10, 20)


def main() -> None:
    """Print the gap to log p(x), the gain over one sample less, and the bound on the gap; the signs are certified."""
    print(f"p(x) = {LATENT.evidence}\n")
    print(f"{'K':>3} {'log p(x) - L_K':>15} {'>= 0':>5} {'at most':>10} {'L_K - L_(K-1)':>14} {'> 0':>4}")
    for samples in SAMPLES:
        gap, most = LATENT.gap(samples), LATENT.largest_gap(samples)
        gain = LATENT.gain(samples, samples - 1) if samples > 1 else None
        shown = ("", "") if gain is None else (f"{float(gain.middle):14.8f}", str(gain.above(0)))
        print(f"{samples:3} {float(gap.middle):15.8f} {gap.above(0)!s:>5} {float(most):10.6f} {shown[0]:>14} {shown[1]:>4}")


if __name__ == "__main__":
    main()
