"""`python -m autoresearch` is the command `autoresearch`."""

from autoresearch.cli import main

if __name__ == "__main__":
    main()
