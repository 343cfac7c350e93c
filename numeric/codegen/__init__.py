"""From a formula to torch source, and running it."""
