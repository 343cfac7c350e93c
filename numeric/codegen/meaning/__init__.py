"""What do the parts of a formula stand for? Vectors and their inner products, means and scales, the law of a density."""
