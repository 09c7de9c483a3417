"""Small notebooks, one idiom each, with the order that each truly needs; see `loader` for the text format."""
