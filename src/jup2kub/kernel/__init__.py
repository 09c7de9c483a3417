"""Runs cells inside the user's interpreter.

Started as a folder or zipapp, never imported as part of `jup2kub`: standard library and IPython/ipykernel only,
Python >= 3.9, relative imports only. `__main__` loads it under a private name.
"""
