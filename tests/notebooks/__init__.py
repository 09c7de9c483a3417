"""Notebooks as scientists write them: percent scripts in `scripts/`, built with their data by `build`."""
