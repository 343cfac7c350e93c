"""The symbolic commands, which work without torch."""
