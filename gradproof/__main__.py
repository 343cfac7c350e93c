"""`python -m gradproof` is the command `gradproof`."""

from numeric.cli.main import main

if __name__ == "__main__":
    main()
