"""`python -m jup2kub`."""

from jup2kub.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
