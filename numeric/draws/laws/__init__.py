"""Exact laws of what continuous noise decides, where it is known what was done to the noise."""
