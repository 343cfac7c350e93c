"""The path under which programs that were written before `numeric.codegen` import the generator."""

from numeric.codegen.torchgen import emit as emit, generate as generate, usual_families as usual_families

__all__ = ["emit", "generate", "usual_families"]
