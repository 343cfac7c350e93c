"""Anybody's torch code, run over every outcome of its draws."""
