"""Prove stochastic gradient estimators: the language, the exact evaluator, the kernel, the verdicts, the catalogue."""
