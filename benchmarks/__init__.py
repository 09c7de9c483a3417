"""What Jup2Kub must show, measured against nbclient and papermill: `make bench`, or `python -m benchmarks --help`."""
