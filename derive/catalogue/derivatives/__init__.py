"""Derivatives of derivatives, and derivatives from values alone."""
