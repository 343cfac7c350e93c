"""The runs of a user's code, and the exact mean of an objective with its gradient, held against the slope of the numbers."""
