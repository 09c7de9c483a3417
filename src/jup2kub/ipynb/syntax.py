"""IPython's syntax turned into Python."""

from __future__ import annotations

import ast
import functools
import re
import warnings
from typing import Any

# What IPython's line transformers change although it may also be valid Python: blank first lines, indentation of
# the whole cell, and the prompts that people paste.
_REWRITTEN = re.compile(r"\A\s|^\s*(?:In \[\d|>>>|\.\.\.)", re.MULTILINE)


@functools.lru_cache(maxsize=4096)
def to_python(source: str) -> str | None:
    """Return the Python that the kernel runs for a cell, or None if the cell is not Python even so.

    Magics become `get_ipython()` calls. Top-level `await` is allowed. The text ends with a newline.
    """
    if not _REWRITTEN.search(source) and _parses(source):
        return source if source.endswith("\n") else source + "\n"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = str(_transformer().transform_cell(source))
    except (SyntaxError, ValueError):
        return None
    return text if _parses(text) else None


@functools.cache
def _transformer() -> Any:
    # Costs a tenth of a second, and notebooks without magics do not need it.
    from IPython.core.inputtransformer2 import TransformerManager

    make: Any = TransformerManager  # untyped there
    return make()


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes are the user's affair: the kernel will tell
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
