"""Hand-made notebooks and flow graphs, in a few letters a cell."""

from __future__ import annotations

from dataclasses import replace

from jup2kub.model.flow import CellFlow, Edge, FlowGraph
from jup2kub.model.notebook import Cell, Notebook, Options


def cell(
    reads: str = "", makes: str = "", *, loops: bool = False, mutates: str = "", **more: object
) -> CellFlow:
    """Return a cell that reads and defines the names given in words; `mutates` counts as read."""
    names = {
        n: frozenset(s.split())
        for n, s in {"reads": f"{reads} {mutates}", "makes": makes, "m": mutates}.items()
    }
    flow = CellFlow(0, reads=names["reads"], defines=names["makes"], mutates=names["m"], loops=loops)
    return replace(flow, **more)  # type: ignore[arg-type]


def heavy(reads: str = "", makes: str = "", seconds: float = 4.0, **more: object) -> CellFlow:
    """Return a cell presumed to take `seconds`."""
    return cell(reads, makes, loops=True, weight=seconds, **more)


def notebook(
    *flows: CellFlow,
    options: dict[int, Options] | None = None,
    sources: dict[int, str] | None = None,
    **tags: object,
) -> tuple[Notebook, FlowGraph]:
    """Return a notebook of these cells and its graph: every read has an edge from the last writer."""
    known = {i: replace(f, index=i) for i, f in enumerate(flows)}
    edges, last = [], {}
    barrier = None
    for i, flow in known.items():
        if flow.barrier:
            edges += [Edge(j, i, "J2K120", "") for j in range(i)]
        elif barrier is not None:
            edges.append(Edge(barrier, i, "J2K120", ""))
        edges += [Edge(last[n], i, "J2K101", n) for n in sorted(flow.reads) if n in last]
        last.update(dict.fromkeys(flow.writes, i))
        barrier = i if flow.barrier else barrier
    cells = []
    for i, flow in known.items():
        made = " = ".join(sorted(n for n in flow.defines if n.isidentifier())) or "_"
        source = (sources or {}).get(
            i, f"{made} = work({', '.join(sorted(n for n in flow.reads if n.isidentifier()))})"
        )
        cells.append(
            Cell(i, f"c{i}", "code", source, options=(options or {}).get(i, Options()), python=source)
        )
    return Notebook(tuple(cells), "python3", "python", {}), FlowGraph(known, tuple(edges))
