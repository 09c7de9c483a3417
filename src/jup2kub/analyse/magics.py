"""Magics: bodies that are Python are inlined; of the others it is known what they do, or they are barriers."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable

ToPython = Callable[[str], str | None]
RUNS_HERE = frozenset({"time", "prun", "capture", "mprun", "memit", "lprun"})
MARK = "\0magic:"
"""Starts a text that stands, as a statement, where a magic was inlined."""
RUNS_APART = frozenset({"timeit"})
SHELL = frozenset({"bash", "sh", "script", "system", "sx", "!", "perl", "ruby", "cmd", "javascript_node"})
SHOWS = frozenset(
    {
        "html",
        "HTML",
        "javascript",
        "js",
        "latex",
        "markdown",
        "svg",
        "SVG",
        "lsmagic",
        "quickref",
        "magic",
        "alias_magic",
    }
)
QUIET_COMMANDS = frozenset(
    [
        "echo",
        "true",
        "false",
        "ls",
        "cat",
        "head",
        "tail",
        "wc",
        "pwd",
        "which",
        "date",
        "du",
        "df",
        "uname",
        "grep",
        "sort",
        "printf",
        "nproc",
        "whoami",
        "free",
        "tree",
        "file",
        "stat",
    ]
)
BODY_RUNS_HERE = frozenset({"time", "capture"})
"""Cell magics that compile their body in the notebook's namespace, and run it once."""


def inline(tree: ast.Module, to_python: ToPython) -> ast.Module:
    """Return the tree with the bodies of `%time`, `%%time`, `%%capture`, `%timeit` and the like in place of the magic."""
    body: list[ast.stmt] = []
    for node in tree.body:
        body += _statement(node, to_python)
    return ast.Module(body=body, type_ignores=[])


def magic_of(node: ast.AST) -> tuple[str, list[str]] | None:
    """Return (`run_line_magic`, arguments) if the node calls the kernel with constants."""
    if (
        not isinstance(node, ast.Call)
        or not isinstance(node.func, ast.Attribute)
        or not isinstance(node.func.value, ast.Call)
    ):
        return None
    inner = node.func.value.func
    if not isinstance(inner, ast.Name) or inner.id != "get_ipython":
        return None
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return (node.func.attr, texts) if len(texts) == len(node.args) else None


def body_starts(source: str) -> int:
    """Return how many lines of a cell come before the body of its cell magic; 0 = it has none."""
    lines = source.splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    return first + 1 if lines and lines[first].startswith("%%") else 0


def text_of(source: str, python: str, to_python: ToPython | None) -> ast.Module:
    """Return the tree of a cell, or of the body that its cell magic runs here, with the lines of the cell's text.

    `python`: `source` after IPython's transformation.
    """
    tree = ast.parse(python)
    value = tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    kind, words = (magic_of(value) if value is not None else None) or ("", [])
    if to_python is None or kind != "run_cell_magic" or len(words) != 3 or words[0] not in BODY_RUNS_HERE:
        return tree
    inner = to_python(words[2])
    if inner is None:
        return tree
    body = ast.parse(inner)
    return ast.increment_lineno(body, body_starts(source))


def _statement(node: ast.stmt, to_python: ToPython) -> list[ast.stmt]:
    value = getattr(node, "value", None)
    found = magic_of(value) if isinstance(node, (ast.Expr, ast.Assign)) and value is not None else None
    if found is None:
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if isinstance(inner, list) and not isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            ):
                setattr(node, name, [s for child in inner for s in _statement(child, to_python)])
        return [node]
    kind, texts = found
    if kind not in ("run_line_magic", "run_cell_magic") or not texts:
        return [node]
    name = texts[0]
    if name not in RUNS_HERE | RUNS_APART:
        return [node]
    return _inlined(node, kind, name, texts, to_python) or [node]


def _inlined(
    node: ast.stmt, kind: str, name: str, texts: list[str], to_python: ToPython
) -> list[ast.stmt] | None:
    line = texts[1] if len(texts) > 1 else ""
    code = _options(line, name)[1]
    body = texts[2] if kind == "run_cell_magic" and len(texts) > 2 else code
    if kind == "run_cell_magic" and name == "timeit" and code:
        body = code + "\n" + body
    python = to_python(body)
    if python is None:
        return None
    try:
        inner = inline(ast.parse(python), to_python).body
    except SyntaxError:
        return None
    if isinstance(node, ast.Assign) and inner and isinstance(inner[-1], ast.Expr) and name != "timeit":
        inner[-1] = ast.Assign(targets=node.targets, value=inner[-1].value, lineno=node.lineno, col_offset=0)
    elif isinstance(node, ast.Assign):
        inner.append(
            ast.Assign(targets=node.targets, value=ast.Constant(value=None), lineno=node.lineno, col_offset=0)
        )
    marker = ast.Expr(value=ast.Constant(value=MARK + name))
    if name in RUNS_APART:
        inner = _apart(inner)
    if name == "capture" and kind == "run_cell_magic":
        target = next((w for w in line.split() if w.isidentifier()), None)
        if target:
            inner.append(
                ast.Assign(
                    targets=[ast.Name(id=target, ctx=ast.Store())],
                    value=ast.Constant(value=None),
                    lineno=node.lineno,
                    col_offset=0,
                )
            )
        inner.append(ast.Pass())
    return [marker, *[ast.fix_missing_locations(s) for s in inner]]


def _apart(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements as a function that is called: what they bind does not stay."""
    function = ast.parse("def __timed__(): pass\n__timed__()").body
    assert isinstance(function[0], ast.FunctionDef)
    function[0].body = body or [ast.Pass()]
    return function


def _options(line: str, name: str) -> tuple[str, str]:
    """Split `-n 10 -r 3 code` into options and code."""
    if name == "capture":
        return line, ""
    rest = line.strip()
    taken = []
    while rest.startswith("-"):
        word, _, rest = rest.partition(" ")
        taken.append(word)
        rest = rest.strip()
        if (
            word in ("-n", "-r", "-l", "-s", "-D", "-T", "-f", "-m", "-t")
            and name != "memit"
            and not re.match(r"-[a-z]\d", word)
        ):
            value, _, rest = rest.partition(" ")
            taken.append(value)
            rest = rest.strip()
    return " ".join(taken), rest


def shell_names(command: str) -> list[str]:
    """Return the Python expressions that IPython puts into a shell command: `{expr}` and `$name`."""
    found = re.findall(r"(?<!\{)\{([^{}]+)\}", command)
    return found + re.findall(r"(?<!\$)\$([A-Za-z_]\w*)", command)


def shell_is_quiet(command: str) -> bool:
    """Whether a shell command surely only reads files and prints."""
    if any(c in command for c in (">", "`", "$(", "&", ";", "tee", "-exec", "-delete", "-o ")):
        return False
    for piece in command.split("|"):
        try:
            words = shlex.split(piece)
        except ValueError:
            return False
        if not words or words[0].rpartition("/")[2] not in QUIET_COMMANDS:
            return False
    return True
