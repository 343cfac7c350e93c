"""Continuous noise at many points: two gradients side by side, their tails, and an interval for the bias."""
