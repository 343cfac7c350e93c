"""What makes an instance silent."""

from __future__ import annotations

from derive.language.errors import GradproofError


class Unreadable(GradproofError):
    """A term has no value on an instance, or none that can be computed: another instance may have one."""


class TooManyNodes(Unreadable):
    """A sum has too many summands; with coarser rules for the integrals in it there may be fewer."""
