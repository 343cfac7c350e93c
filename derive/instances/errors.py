"""What makes an instance silent."""

from __future__ import annotations

from derive.language.errors import GradproofError


class Unreadable(GradproofError):
    """A term has no value on an instance, or none that can be computed: another instance may have one."""
