"""Losses of language-model fine-tuning, each with the target that the mean of its gradient belongs to."""
