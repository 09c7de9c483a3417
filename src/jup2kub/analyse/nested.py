"""Arrays and frames that hold changeable objects: a copy of one is new, the objects in it are not."""

from __future__ import annotations

from jup2kub.analyse.arguments import Args
from jup2kub.analyse.values import Value

TABLES = ("frame", "ndarray")
HOLDS_FROM = {"pandas.DataFrame": 3, "pandas.Series": 2}
"""How deep what is given must be for a cell of the table to be a container; rows and columns are containers too."""
MADE_BY = frozenset({"apply", "map", "transform", "agg", "aggregate", "applymap"})
CONTAINERS = ("list", "dict", "set")


def holds_objects(value: Value) -> bool:
    """Whether an array or frame, or one in a list or tuple, is known to hold changeable objects."""
    if value.type in TABLES:
        return value.depth > 0
    return any(holds_objects(v) for v in value.items or ())


def column(value: Value) -> bool:
    """Whether a table that takes `value` as a column then holds changeable objects."""
    return holds_objects(value) if value.type in TABLES else value.type == "list" and value.depth > 1


def shares_objects(args: Args) -> bool:
    """Whether what a function makes holds the objects that its arguments hold, though it may be an array of its own."""
    return args.named.get("dtype", Value()).library == "builtins.object" or any(
        holds_objects(v) for v in args.all
    )


def result_depth(dotted: str, args: Args) -> int:
    """Return the depth of the table that a library function makes of its arguments."""
    if shares_objects(args):
        return 1
    least = HOLDS_FROM.get(dotted)
    return int(least is not None and any(v.type not in TABLES and v.depth >= least for v in args.all))


def method_depth(base: Value, name: str, args: Args, returned: list[Value]) -> int:
    """Return the depth of what a method of a table gives; `returned`: what notebook code that it calls gives back."""
    if base.type == "frame" and name in ("split", "rsplit", "findall") and "expand" not in args.named:
        return 1
    if base.type == "frame" and name in MADE_BY:
        builtin = any(v.library in {f"builtins.{c}" for c in CONTAINERS} for v in args.all)
        if builtin or any(v.type in CONTAINERS for v in returned):
            return 1
    return base.depth
