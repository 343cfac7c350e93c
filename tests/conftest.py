"""The same random examples in every run: a test that fails once fails again, and one that passed does not flake."""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
