"""How fast gradproof is, beside what else there is: `python -m benchmarks`, see README.md."""
