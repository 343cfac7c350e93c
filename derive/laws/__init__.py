"""How a law is read exactly: finite models, densities, integrals, relaxations, bounds."""
