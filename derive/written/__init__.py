"""Derivations as people type them: a grammar of the notation that `derive.printing.text` writes, and a check of every line."""
