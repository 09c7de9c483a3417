"""What the analysis knows of an object: whom it may share memory with, what notebook code it may run, what it is."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Names = frozenset[str]
NONE: Names = frozenset()


@dataclass(eq=False)
class Code:
    """A function, lambda or class of the notebook (or of a module of the project folder), as text."""

    name: str
    node: ast.AST
    space: str
    """Where its globals live: empty = the notebook, else `@mod:<module>`."""
    scopes: tuple[dict[str, Value], ...] = ()
    """Variables of the functions around it, innermost last: live dictionaries."""
    defaults: tuple[Value, ...] = ()
    """Values of parameter defaults; a mutable one is part of the function's state."""
    methods: dict[str, Value] = field(default_factory=dict)
    """For a class: what its body binds."""
    bases: tuple[Value, ...] = ()
    shared: bool = False
    """For a class: its body binds something that instances can change for all."""
    generator: bool = False
    owner: Code | None = None
    """For a method: its class."""


Role = tuple[Code, str]
"""Code and how it is held: `self` = the callable, `instance` = an object of the class, `running` = a generator or
coroutine of the function, `bound` = a method with its object."""


@dataclass(frozen=True)
class Value:
    """An abstract object. The default is an object nothing is known of that shares nothing."""

    roots: Names = NONE
    """Labels whose mutable object it may be or share: names, resources, `%i` parameters, `^` own closure, `~`/`!` anonymous."""
    code: frozenset[Role] = frozenset()
    library: str | None = None
    """Dotted name of the library object that it is; None = not one."""
    packages: Names = NONE
    """Packages that it may be an object of."""
    type: str | None = None
    """atom (immutable), list, dict, tuple, ndarray, frame, stateful, handle, module, plot, shared, shell, data, absent; None = unknown."""
    atoms: bool = False
    """What it holds is immutable."""
    text: str | None = None
    """A string, number or path as text, `*` for parts that the text does not tell; None = unknown."""
    items: tuple[Value, ...] | None = None
    """Parts of a tuple or list display."""
    mode: str = ""
    """Of a handle: how the file was opened; of an estimator: `random`, `search`; `method`: calling it changes its object."""
    of: frozenset[Role] = frozenset()
    """Of a bound method: the code of its object."""
    full: bool = False
    """It surely holds something: a loop over it turns at least once."""
    flat: bool = False
    """It holds nothing but arrays, frames and immutable things: copies of these share nothing with it."""
    keyed: bool = False
    """A dictionary whose keys are immutable, all through."""
    depth: int = 0
    """Containers within containers that the text shows: 1 = a list of numbers, 2 = a list of lists; of an array or frame,
    1 = it holds changeable objects, which its copies share."""
    streams: bool = False
    """It may be an iterator or handle, or hold one."""
    moves: Names | None = None
    """Of an iterator that has no name yet: labels of the iterators below it, which move with it; None = as `roots`."""

    @property
    def atom(self) -> bool:
        return self.type in ("atom", "module", "absent")

    @property
    def plain(self) -> bool:
        """Whether it shares nothing that can change: immutable, or a function without state of its own."""
        stateless = self.type == "function" and all(not c.scopes and not c.defaults for c, r in self.code)
        return self.atom or (stateless and all(not isinstance(c.node, ast.ClassDef) for c, _ in self.code))

    @property
    def known_inside(self) -> bool:
        """Whether something is known of what it holds, which a change would make untrue."""
        return self.items is not None or self.full or self.flat or self.keyed

    def loose(self) -> Value:
        """Return the same object after a change: what it holds is not known any more."""
        return Value(
            self.roots,
            self.code,
            self.library,
            self.packages,
            self.type,
            self.atoms,
            streams=self.streams,
            depth=self.depth,
        )

    @property
    def flows(self) -> bool:
        """Whether going through it may use something up."""
        return (
            self.streams
            or self.type in ("stateful", "handle")
            or "method" in self.mode
            or any(role == "running" for _, role in self.code)
        )

    def at(self, roots: Names) -> Value:
        """Return the same object, known under other labels."""
        return self if self.atom else replace(self, roots=roots, moves=None)


UNKNOWN = Value()
ATOM = Value(type="atom")
ABSENT = Value(type="absent")
KERNEL_ITSELF = Value(frozenset({"@lib:IPython"}), packages=frozenset({"IPython"}), type="shell")
"""The kernel itself, as `get_ipython()` gives it: through it everything can be reached."""


def union(*values: Value) -> Value:
    """Return what is known of an object that is one of `values`."""
    distinct = [v for i, v in enumerate(values) if v not in values[:i]]
    if not distinct:
        return ATOM
    first = distinct[0]
    if len(distinct) == 1:
        return first
    real = [v for v in distinct if not v.atom or v.type == "module" or v.code]
    types = {v.type for v in (real or distinct)}
    libraries = {v.library for v in real}
    return Value(
        roots=NONE.union(*(v.roots for v in distinct)),
        code=frozenset().union(*(v.code for v in distinct)),
        library=libraries.pop() if len(libraries) == 1 else None,
        packages=NONE.union(
            *(v.packages for v in distinct), *({v.library.partition(".")[0]} for v in real if v.library)
        ),
        type=types.pop() if len(types) == 1 and (not real or len(real) == len(distinct)) else None,
        atoms=all(v.atoms or v.atom for v in distinct),
        text=first.text if all(v.text == first.text for v in distinct) else None,
        mode="".join(sorted({v.mode for v in distinct})),
        streams=any(v.flows for v in distinct),
        depth=max(v.depth for v in distinct),
    )


def holder(kind: str, items: list[Value]) -> Value:
    """Return a new container of `kind` that holds `items`."""
    merged = union(*items)
    return Value(
        roots=NONE.union(*(v.roots for v in items if not v.plain)),
        code=merged.code,
        packages=merged.packages | NONE.union(*({v.library.partition(".")[0]} for v in items if v.library)),
        type=kind,
        atoms=all(v.type == "atom" for v in items),
        items=tuple(items) if kind in ("tuple", "list") and len(items) < 50 else None,
        streams=any(v.flows for v in items),
        depth=1 + max((v.depth for v in items), default=0),
        flat=all(v.plain or v.atoms or v.type in ("ndarray", "frame") for v in items),
    )


def immutable(value: Value) -> bool:
    """Whether nothing about an object can change: a number, text, or a tuple of such."""
    return value.atom or (value.type == "tuple" and value.atoms)


def pairs(value: Value) -> Value:
    """Return what `items()` of a dictionary gives."""
    key = ATOM if value.keyed else Value(value.roots, value.code, packages=value.packages)
    pair = holder("tuple", [key, part(value)])
    return replace(holder("list", [pair]), roots=value.roots, full=value.full)


def part(value: Value) -> Value:
    """Return an element, attribute or view of `value`."""
    if value.atoms or value.atom:
        return Value(type="atom", packages=value.packages)
    kind = value.type if value.type in ("frame", "ndarray", "plot", "shared", "shell") else None
    if value.items:
        return held(union(*value.items), value)
    table = kind in ("frame", "ndarray")
    return Value(
        roots=value.roots,
        code=value.code,
        packages=value.packages,
        type=kind,
        streams=value.streams,
        depth=value.depth if table else max(0, value.depth - 1),
    )


def held(item: Value, container: Value) -> Value:
    """Return an item as it is reached through its container."""
    return item if item.atom else item.at(item.roots | container.roots)


def renamed(value: Value, labels: Mapping[str, Names], make: dict[str, str]) -> Value:
    """Return `value` with its labels replaced; anonymous labels (`~`) get a fresh name from `make`."""
    roots: set[str] = set()
    for label in value.roots:
        if label in labels:
            roots |= labels[label]
        elif label.startswith("~"):
            roots.add(make.setdefault(label, f"!{id(make)}.{label}"))
        else:
            roots.add(label)
    items = tuple(renamed(v, labels, make) for v in value.items) if value.items is not None else None
    return replace(value, roots=frozenset(roots), items=items)


def element(value: Value) -> Value:
    """Return what a loop over a value gives."""
    return ATOM if value.keyed else part(value)


def moving(values: list[Value]) -> Names:
    """Return the labels of those of `values` that move on when an iterator over them does."""
    labels = (v.roots if v.moves is None else v.moves for v in values if v.flows)
    return NONE.union(*labels)
