"""Gradients of discrete laws by sums over outcomes, by slopes at outcomes, and with a fitted control variate."""
