"""`python -m jup2kub`."""

from jup2kub.cli.entry import main

if __name__ == "__main__":
    main()
