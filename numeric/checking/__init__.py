"""Generated code against exact values, and the sequential test."""
