"""The reproductions need the libraries that they are about; tests/subjects runs them."""

collect_ignore_glob = ["*.py"]
