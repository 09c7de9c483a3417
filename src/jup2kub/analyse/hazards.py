"""The numbered rules: why two cells are ordered, and what the user can do about it."""

from __future__ import annotations

from dataclasses import dataclass

from jup2kub.model.flow import CellFlow


@dataclass(frozen=True)
class Rule:
    """One rule of the rules page."""

    code: str
    title: str
    text: str
    """Template with `{source}`, `{target}`, `{name}`."""
    reason: str
    way_out: str


RULES = (
    Rule(
        "J2K101",
        "A value is used",
        "cell {target} uses {name}, which cell {source} makes",
        "A cell can only run when what it reads is there.",
        "None is needed: this is the order that the work itself has.",
    ),
    Rule(
        "J2K102",
        "A name is set on some path only",
        "cell {source} may set {name}, which cell {target} uses",
        "Whether the name is set (in an `if`, a loop, a handler) is known only when the cell has run.",
        "Set the name on every path, or under another name.",
    ),
    Rule(
        "J2K103",
        "A definition is used",
        "cell {target} uses {name}, which cell {source} defines or imports",
        "A function reads the names it uses when it is called, so it needs its definition and theirs.",
        "None is needed: definitions are cheap and are repeated where they are used.",
    ),
    Rule(
        "J2K104",
        "A value is changed in place",
        "cell {source} changes {name} in place, and cell {target} uses it after",
        "An object that is changed has to be taken after the change.",
        "Work on a copy (`df = df.copy()`), or give the result a new name.",
    ),
    Rule(
        "J2K105",
        "A name is deleted",
        "cell {source} deletes {name}, and cell {target} looks for it after",
        "A deleted name is an answer too.",
        "Leave out `del` if it only serves to free memory.",
    ),
    Rule(
        "J2K110",
        "A random generator is shared",
        "cell {source} and cell {target} draw from or seed the same generator {name}",
        "After a seed, what a draw gives depends on all draws before it.",
        "Give each cell a generator of its own: `rng = np.random.default_rng(SEED)`, or `SeedSequence(SEED).spawn(n)`.",
    ),
    Rule(
        "J2K111",
        "A setting is changed",
        "cell {source} changes the setting {name}, which cell {target} feels",
        "Options, environment variables, the working folder and warning filters hold for all cells after.",
        "Change settings in the first cells of the notebook.",
    ),
    Rule(
        "J2K112",
        "A library's own state is changed",
        "cell {source} may change the state of {name}, which cell {target} uses",
        "A call whose result is thrown away is made for its effect, and what it changes cannot be seen from outside.",
        "Move such calls to the first cells, or annotate the function as pure.",
    ),
    Rule(
        "J2K113",
        "A module of the project is changed",
        "cell {source} changes or first imports the module {name}, which cell {target} uses",
        "The variables of a module are shared by all cells that use it.",
        "Import at the top of the notebook, and pass settings as arguments.",
    ),
    Rule(
        "J2K120",
        "An earlier output is used",
        "cell {target} uses the output of cell {source}",
        "`_`, `Out[n]` are values that the kernel keeps.",
        "Give the value a name.",
    ),
    Rule(
        "J2K121",
        "A display is updated",
        "cell {target} updates what cell {source} displays",
        "Updates follow their display.",
        "None is needed.",
    ),
    Rule(
        "J2K130",
        "A file is shared",
        "cell {source} and cell {target} touch the same file {name}, and one of them writes it",
        "Files are not versioned: readers and writers keep the notebook's order.",
        "Use different file names, and write them as text in the cell.",
    ),
    Rule(
        "J2K150",
        "A barrier",
        "cell {source} and cell {target} keep their order: {name}",
        "What such a cell reads and changes is not told by its text.",
        "Write it as plain Python, in a cell of its own.",
    ),
    Rule(
        "J2K151",
        "A name that no cell defines",
        "cell {target} uses {name}, which no cell defines by its text; it may come from any cell before, such as {source}",
        "Some calls define names (`var('x')`, star imports).",
        "Assign the name (`x = symbols('x')`).",
    ),
)
_BY_CODE = {rule.code: rule for rule in RULES}
_PREFIX = (
    ("@rng:", "J2K110"),
    ("@lib:", "J2K112"),
    ("@star:", "J2K151"),
    ("@mod:", "J2K113"),
    ("@out", "J2K120"),
    ("@display", "J2K121"),
    ("@", "J2K111"),
)


def rule_of(name: str, source: CellFlow) -> str:
    """Return the rule by which a cell that reads `name` follows `source`, its last writer."""
    for prefix, code in _PREFIX:
        if name.startswith(prefix):
            return code
    if name in source.deletes:
        return "J2K105"
    if name in source.may_define:
        return "J2K102"
    if name in source.definitions:
        return "J2K103"
    return "J2K101" if name in source.defines else "J2K104"


def explain(code: str, source: int, target: int, name: str) -> str:
    """Return a rule's sentence for two cells; an unknown code gives KeyError."""
    return _BY_CODE[code].text.format(source=source, target=target, name=name.removeprefix("@file:"))


def page() -> str:
    """Return the page of rules (Markdown)."""
    parts = [
        "# Rules of the analysis\n\nWhy two cells of a notebook keep their order, and what can be done about it.\n"
    ]
    for rule in RULES:
        sentence = rule.text.format(source="3", target="7", name="`x`")
        parts.append(
            f"## {rule.code} {rule.title}\n\n> {sentence}\n\n{rule.reason}\n\n**Way out.** {rule.way_out}\n"
        )
    return "\n".join(parts)
