"""What does a generated function say beside the formula? Its draws, and the calls of the user's functions."""
