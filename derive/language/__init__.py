"""What a formula is: terms, binders and substitution, laws and functions, estimators. Everything else reads it."""
