"""What is an estimator tried on? Functions in the place of the user's, and every outcome and node in the place of the draws."""
