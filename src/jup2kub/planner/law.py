"""Which cells may lawfully leave the main line; each refusal is a decision in words, with a way out."""

from __future__ import annotations

from collections.abc import Iterable

from jup2kub.model.flow import PLACED, CellFlow
from jup2kub.model.plan import Decision

from .cost import Costs
from .presume import Sheet

EFFECTS = {
    "network": "it talks to the network",
    "process": "it starts other programs",
    "device": "it uses a device",
    "outside": "it touches files outside the project folder",
    "input": "it asks for input",
    "threads": "it leaves something running in the background",
    "shell": "it runs a shell command",
    "benchmark": "it measures time and must run alone",
}
"""Effects that are never speculative, in words."""

USER_MAY_ALLOW = frozenset({"network", "process", "device", "outside", "shell"})
"""Effects that a cell may have in a step which the user has named."""

TRAVELS = frozenset(
    [
        "@rng:random",
        "@rng:numpy",
        "@rng:torch",
        "@env",
        "@cwd",
        "@sys.path",
        "@warnings",
        "@rc:matplotlib",
        "@options:pandas",
        "@out",
    ]
)
"""Ambient state that can be carried from kernel to kernel, besides files."""


def travels(resource: str) -> bool:
    """Return whether the ambient `resource` (`@…`) can be carried from one kernel to another."""
    return resource in TRAVELS or resource.startswith(PLACED)


def effects(sheet: Sheet, index: int) -> frozenset[str]:
    """Return the effects of a cell, stated or observed, that are never speculative."""
    facts = sheet.facts.get(index)
    return (sheet.flows[index].effects | (facts.effects if facts else frozenset())) & EFFECTS.keys()


def waits(sheet: Sheet, index: int, pending: frozenset[str]) -> str | None:
    """Return why the cell, in main, runs only when nothing is pending; None = it need not wait.

    `pending`: names that earlier steps make.
    """
    flow = sheet.flows[index]
    if flow.barrier or sheet.cells[index].options.barrier:
        return flow.barrier or "you marked it as a barrier"
    if flow.unparsed:
        return "it is not plain Python"
    found = effects(sheet, index)
    if found:
        return " and ".join(EFFECTS[e] for e in sorted(found))
    facts = sheet.facts.get(index)
    written = flow.file_writes or (facts.files_written if facts else ())
    if written:
        return "it writes " + ("files" if "*" in written else listed(written))
    guarded = flow.guarded & pending
    if guarded:
        return f"it would hide that {listed(sorted(guarded))} is not there yet"
    if flow.opaque:
        return f"it calls {listed(flow.opaque)}, and what that reads cannot be told from the text"
    return None


def stays(sheet: Sheet, index: int, costs: Costs, *, named: bool = False) -> Decision | None:
    """Return why the cell must stay in the main line, or None if it may leave.

    `named`: the user put it in a step by name, which allows effects that a planner never moves by itself.
    """
    flow, options = sheet.flows[index], sheet.cells[index].options
    if flow.barrier or flow.unparsed or options.barrier:
        why = flow.barrier or ("you marked it as a barrier" if options.barrier else "it is not plain Python")
        return _no("J2K301", index, f"keeps its place among all other cells: {why}", "")
    found = effects(sheet, index) - (USER_MAY_ALLOW if named else frozenset())
    if found:
        why = " and ".join(EFFECTS[e] for e in sorted(found))
        hint = (
            "name it with `#| step: name` if it may run ahead of earlier cells"
            if found <= USER_MAY_ALLOW
            else ""
        )
        return _no("J2K302", index, f"has effects that must happen in order and only once: {why}", hint)
    if sheet.cells[index].may_raise:
        return _no(
            "J2K303", index, "is tagged raises-exception: what it leaves behind is known only when it ends"
        )
    if sheet.dying is not None and index >= sheet.dying:
        return _no(
            "J2K317",
            index,
            f"may let go of an object that does something when it dies (cell {sheet.dying} says what), and that must happen once and in its place",
            "use a context manager (`with`) instead of `__del__`",
        )
    return _state(sheet, index) or _values(sheet, index, costs)


def _state(sheet: Sheet, index: int) -> Decision | None:
    flow, facts = sheet.flows[index], sheet.facts.get(index)
    written = flow.writes | (facts.mutated if facts else frozenset())
    stuck = sorted(r for r in written if r.startswith("@") and not travels(r))
    if stuck:
        return _no(
            "J2K304",
            index,
            f"may change the state of {listed(resource(r) for r in stuck)}, which cannot be carried to another kernel",
            "put the configuring statement into a cell of its own, before the heavy work",
        )
    if "@out" in flow.reads:
        return _no("J2K305", index, "uses `_` or `Out[…]`", "give the value a name")
    files = flow.file_writes + (facts.files_written if facts else ())
    if "*" in files:
        return _no(
            "J2K306",
            index,
            "writes files whose names the text does not tell",
            "write the file name as a plain string",
        )
    return None


def _values(sheet: Sheet, index: int, costs: Costs) -> Decision | None:
    facts, estimate = sheet.facts.get(index), sheet.estimates[index]
    functions = sheet.functions.get(index, frozenset())
    if functions:
        return _no(
            "J2K307",
            index,
            f"defines {listed(sorted(functions))}, which cannot be made apart from the rest of the cell",
            "put functions and classes into a cell of their own",
        )
    if facts and facts.unshippable:
        name, why = sorted(facts.unshippable.items())[0]
        return _no("J2K308", index, f"makes `{name}`, which cannot be carried to another kernel: {why}")
    if facts and facts.sticky:
        return _no("J2K309", index, f"leaves something running: {facts.sticky}")
    if estimate.changes_bytes > costs.big_bytes and not estimate.measured:
        size = estimate.changes_bytes / 1e6
        return _no(
            "J2K310",
            index,
            f"may change an object of {size:.0f} MB in place, and was not yet timed: moving it may cost more than it saves",
            "run the notebook once; the next plan knows",
        )
    return None


def _no(rule: str, index: int, text: str, hint: str = "") -> Decision:
    return Decision(rule, (index,), f"cell {index} stays in the main line: it {text}", hint)


def resource(name: str) -> str:
    """Return a name or resource in a scientist's words."""
    known = {
        "@env": "the environment variables",
        "@cwd": "the working directory",
        "@sys.path": "the module search path",
        "@warnings": "the warning filters",
        "@out": "the output history (`_`, `Out`)",
        "@rng:random": "the random generator of Python",
        "@rng:numpy": "the random generator of numpy",
        "@rng:torch": "the random generator of torch",
        "@rc:matplotlib": "the settings of matplotlib",
        "@options:pandas": "the options of pandas",
        "@file:*": "files whose names the text does not tell",
    }
    if name in known:
        return known[name]
    kind, _, rest = name.partition(":")
    words = {
        "@file": "the file ",
        "@lib": "the library ",
        "@mod": "your module ",
        "@rng": "the random generator of ",
    }
    if kind in words:
        return words[kind] + rest
    return f"`{name}`" if not name.startswith("@") else name[1:]


def listed(names: Iterable[str]) -> str:
    """Return a few of the names, marked as such, as text."""
    shown = [n if " " in n else f"`{n}`" for n in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return ", ".join(shown[:3]) + more


def flow_names(flow: CellFlow) -> frozenset[str]:
    """Return the plain names (no resources) that a cell makes."""
    return frozenset(n for n in flow.writes if not n.startswith("@"))
