"""Order and reachability over any hashable nodes."""

from __future__ import annotations

from typing import Dict, Hashable, Iterable, List, Mapping, Set, TypeVar

N = TypeVar("N", bound=Hashable)


def closure(start: Iterable[N], successors: Mapping[N, Iterable[N]]) -> Set[N]:
    """Return `start` and everything reachable from it."""
    seen: Set[N] = set()
    todo: List[N] = list(start)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(successors.get(node, ()))
    return seen


def inverse(edges: Mapping[N, Iterable[N]]) -> Dict[N, Set[N]]:
    """Return the same graph with every edge turned round."""
    turned: Dict[N, Set[N]] = {}
    for source, targets in edges.items():
        for target in targets:
            turned.setdefault(target, set()).add(source)
    return turned


class Groups(Dict[N, N]):
    """Union-find: `join` merges, `find` names the group by one of its members."""

    def find(self, node: N) -> N:
        root = node
        while self.get(root, root) != root:
            root = self[root]
        while self.get(node, node) != root:
            self[node], node = root, self[node]
        return root

    def join(self, one: N, other: N) -> None:
        self.setdefault(one, one)
        self.setdefault(other, other)
        self[self.find(one)] = self.find(other)

    def members(self) -> List[Set[N]]:
        """Return every group as a set, in the order of first joining."""
        found: Dict[N, Set[N]] = {}
        for node in list(self):
            found.setdefault(self.find(node), set()).add(node)
        return list(found.values())
