"""What makes an instance silent."""

from __future__ import annotations


class UnreadableError(Exception):
    """A term has no value on an instance, or none that can be computed: another instance may have one."""


class TooManyNodesError(UnreadableError):
    """A sum has too many summands; with coarser rules for the integrals in it there may be fewer."""


class UnmetError(UnreadableError):
    """What is assumed does not hold on the instance."""
