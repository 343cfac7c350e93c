"""The estimator, where users import it from. It is defined in `derive.language.estimator`."""

from derive.language.estimator import VERDICTS as VERDICTS, Estimator as Estimator

__all__ = ["VERDICTS", "Estimator"]
