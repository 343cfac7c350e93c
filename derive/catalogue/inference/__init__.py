"""Variational inference beyond the evidence lower bound."""
