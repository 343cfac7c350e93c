"""What does a generated module say beside the formula? Its head and helpers, its draws, the calls of the user's functions."""
