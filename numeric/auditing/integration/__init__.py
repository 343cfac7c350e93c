"""The noise of audited code on lines and grids: where it decides, and what the code gives at the nodes."""
