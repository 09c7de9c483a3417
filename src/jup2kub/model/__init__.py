"""The nouns of the system: frozen values without I/O. Python >= 3.9: pods carry them."""
