"""Small tools that know nothing of notebooks; standard library only."""
