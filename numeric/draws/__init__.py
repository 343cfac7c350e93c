"""The random operations of torch, and what each of them may give."""
