"""The command line: one module a verb; the one place that prints and exits."""
