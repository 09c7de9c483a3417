"""Engines: hands for one state machine."""
