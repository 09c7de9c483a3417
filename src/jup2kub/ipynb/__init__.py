"""Bytes to `Notebook` and back: formats, IPython syntax, cell options, parameters. Pure: no files, no clock."""

from .parameters import inject, notes, resolve
from .read import read
from .syntax import to_python
from .write import write

__all__ = ["inject", "notes", "read", "resolve", "to_python", "write"]
