"""What gradproof says of an estimator: verdicts, variances, oracles."""
