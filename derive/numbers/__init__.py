"""The numbers that the judge computes with: polynomials, unknowns, jets, balls."""
