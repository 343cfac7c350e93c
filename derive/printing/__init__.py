"""Formulas and derivations as text, Markdown, LaTeX and HTML."""
