"""The arguments of one call."""

from __future__ import annotations

from dataclasses import dataclass, field

from jup2kub.analyse.values import NONE, Role, Value


@dataclass
class Args:
    """Arguments of one call."""

    values: list[Value] = field(default_factory=list)
    named: dict[str, Value] = field(default_factory=dict)
    rest: list[Value] = field(default_factory=list)
    """Elements of what `*` and `**` spread."""

    @property
    def all(self) -> list[Value]:
        return [*self.values, *self.named.values(), *self.rest]

    @property
    def roots(self) -> frozenset[str]:
        return NONE.union(*(v.roots for v in self.all if not v.plain))

    @property
    def code(self) -> frozenset[Role]:
        return frozenset().union(*(v.code for v in self.all))

    @property
    def packages(self) -> frozenset[str]:
        return NONE.union(*(v.packages for v in self.all))

    def get(self, key: int | str) -> Value | None:
        """Return an argument by place or keyword."""
        if isinstance(key, int):
            return self.values[key] if key < len(self.values) else None
        return self.named.get(key)

    @property
    def streamed(self) -> frozenset[str]:
        """The labels of the files, buffers and iterators among the arguments."""
        return NONE.union(*(v.roots for v in self.all if v.type in ("stateful", "handle")))
