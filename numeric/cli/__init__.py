"""The whole command: the symbolic commands, and those that run torch."""
