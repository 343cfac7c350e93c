"""A language model of three tokens on which losses are run over every group of samples."""
