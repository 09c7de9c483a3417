"""Jup2Kub: the same notebook, executed in parallel, with proof that the answer is the same."""

__version__ = "0.1.0"
