"""What code holds and can reach, and how it is put back to what it was."""
