"""How is generated code called? What it is given, checked; large batches in parts."""
