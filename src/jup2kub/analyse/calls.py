"""Calls of built-in functions, methods and unknown things."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.library import Libraries
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.values import ATOM, NONE, UNKNOWN, Value, holder, part, union

FRAME_COPIES = frozenset({"copy", "deepcopy"})
PATH_READS = frozenset(
    {
        "read_text",
        "read_bytes",
        "exists",
        "is_file",
        "is_dir",
        "stat",
        "iterdir",
        "glob",
        "rglob",
        "samefile",
        "lstat",
    }
)
PATH_WRITES = frozenset(
    {
        "write_text",
        "write_bytes",
        "unlink",
        "mkdir",
        "rmdir",
        "touch",
        "rename",
        "symlink_to",
        "hardlink_to",
        "chmod",
    }
)
FILE_METHODS = frozenset(
    [
        "to_csv",
        "to_parquet",
        "to_excel",
        "to_pickle",
        "to_hdf",
        "to_feather",
        "to_stata",
        "savefig",
        "tofile",
        "to_file",
        "to_netcdf",
        "to_zarr",
        "extractall",
        "writestr",
    ]
)
MAYBE_FILE = frozenset({"to_json", "to_html", "to_latex", "to_markdown", "to_string", "save", "dump"})
REFLECTIVE = frozenset(
    {
        "globals",
        "locals",
        "vars",
        "dir",
        "exec",
        "eval",
        "compile",
        "input",
        "breakpoint",
        "__import__",
        "setattr",
        "delattr",
    }
)


class Calls(Libraries):
    """Adds calls to a walk."""

    discarding: ast.expr | None = None

    def call(self, node: ast.Call) -> Value:
        discarded = self.discarding is node
        self.discarding = None
        special = self._special(node)
        if special is not None:
            return special
        receiver = self.passive(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if receiver is not None and isinstance(node.func, ast.Attribute):
            callee = self._method_value(receiver, node.func.attr)
        else:
            callee = self.passive(node.func)
        args = self.arguments(node)
        self.spend(0.0)
        if callee is not None and callee.code:
            return self.run_call(callee, args)
        if callee is not None and callee.library is not None:
            if callee.library.startswith("builtins.") and callee.library.count(".") == 1:
                return self._builtin(callee.library[9:], args, node)
            return self.library_call(callee, args, node, discarded)
        if receiver is not None and isinstance(node.func, ast.Attribute):
            return self._method(receiver, node.func.attr, args, node, discarded)
        return self._unknown(callee or UNKNOWN, args, node)

    def _method_value(self, receiver: Value, name: str) -> Value | None:
        if receiver.library is not None:
            return self._library_attribute(receiver, name)
        own = self._own_attribute(receiver, name)
        if own is not None:
            return own if own.code else None
        if any(role == "instance" for _, role in receiver.code) or receiver.code:
            self.run_methods(receiver)
        return None

    def arguments(self, node: ast.Call) -> Args:
        args = Args()
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                args.rest.append(self.consume(argument.value))
            else:
                args.values.append(self.passive(argument))
        for keyword in node.keywords:
            value = self.passive(keyword.value)
            if keyword.arg is None:
                args.rest.append(part(value))
            else:
                args.named[keyword.arg] = value
        return args

    # functions that look at names

    def _special(self, node: ast.Call) -> Value | None:
        if isinstance(node.func, ast.Name) and node.func.id in REFLECTIVE:
            value = self.load(node.func.id)
            if value.library == "builtins." + node.func.id:
                return self._reflective(node.func.id, node)
        if isinstance(node.func, ast.Attribute):
            return self._names_method(node, node.func)
        return None

    def _names_method(self, node: ast.Call, func: ast.Attribute) -> Value | None:
        """Handle `globals().get('x')` and methods of `get_ipython()`."""
        inner = func.value
        if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Name):
            return None
        if inner.func.id in ("globals", "locals") and not inner.args and func.attr in ("get", "__contains__"):
            name = constant(node.args[0]) if node.args else None
            if name is not None and self._plain(inner.func.id):
                for other in node.args[1:]:
                    self.expr(other)
                return self.maybe_name(name)
        if inner.func.id == "get_ipython":
            return self.kernel_call(node, func.attr)
        return None

    def _plain(self, name: str) -> bool:
        return self.load(name).library == "builtins." + name and (name == "globals" or not self.scopes)

    def maybe_name(self, name: str) -> Value:
        """Return the value of a global that may be absent."""
        if name in self.space.env or self.space.label:
            return self.load_global(name)
        self.rec.guarded.add(name)
        return ATOM

    def _reflective(self, name: str, node: ast.Call) -> Value | None:
        if name in ("exec", "eval"):
            return self._execute(name, node)
        if name in ("vars", "dir") and node.args:
            return self.passive(node.args[0]) if name == "vars" else Value(type="list", atoms=True)
        if name in ("locals", "vars", "dir") and self.scopes:
            return UNKNOWN
        if name in ("globals", "locals", "vars"):
            self.rec.stop("it reaches names through globals() that the text does not tell")
            return UNKNOWN
        if name == "dir":
            self.rec.stop("it lists the names that exist")
            return Value(type="list", atoms=True)
        if name == "input" or name == "breakpoint":
            self.rec.effects.add("input")
            self.rec.stop("it waits for somebody at the keyboard")
            return ATOM
        if name == "__import__":
            text = constant(node.args[0]) if node.args else None
            return self.import_module(text) if text else UNKNOWN
        if name in ("setattr", "delattr") and len(node.args) > 1:
            base, values = self.passive(node.args[0]), [self.passive(a) for a in node.args[1:]]
            self.object_store(node.args[0], base, values[-1], constant(node.args[1]))
            return ATOM
        return None

    def object_store(self, node: ast.expr, base: Value, value: Value, attribute: str | None) -> None:
        raise NotImplementedError

    def import_module(self, dotted: str) -> Value:
        raise NotImplementedError

    def kernel_call(self, node: ast.Call, name: str) -> Value | None:
        raise NotImplementedError

    def _execute(self, name: str, node: ast.Call) -> Value:
        value = self.passive(node.args[0]) if node.args else UNKNOWN
        literal = constant(node.args[0]) if node.args else None
        if len(node.args) > 1 or node.keywords or literal is None or (name == "exec" and self.scopes):
            for argument in node.args[1:]:
                self.passive(argument)
            self.rec.stop(f"it runs code from a text through {name}()")
            return value
        try:
            if name == "eval":
                return self.expr(ast.parse(literal.strip(), mode="eval").body)
            self.block(ast.parse(literal).body)
        except SyntaxError:
            self.rec.stop(f"it runs code from a text through {name}()")
        return ATOM

    # built-in functions

    def _builtin(self, name: str, args: Args, node: ast.Call) -> Value:
        table = self.tables.builtins
        if name == "open":
            return self.open_file(args)
        if name in ("display", "update_display"):
            return self.display(name, args)
        if name == "get_ipython":
            self.rec.stop("it uses the kernel itself")
            return UNKNOWN
        if name in ("exit", "quit"):
            self.rec.stop("it ends the kernel")
        if name == "print" and "file" in args.named:
            self.use_up(args.named["file"])
        for place in table["mutates"].get(name, ()):
            if place < len(args.values):
                self.mutate(args.values[place].roots, CERTAIN)
        return self._builtin_result(name, args, table, node)

    def _builtin_result(self, name: str, args: Args, table: Mapping[str, Any], node: ast.Call) -> Value:
        everything = args.all
        lazy = name in table["stateful"]
        for value in everything:
            if not lazy:
                self.escape(value, everything, dunders=True)
            elif value.type in ("stateful", "handle") or any(role == "running" for _, role in value.code):
                self.mutate(value.roots, SPECULATIVE)
            if (
                value.type in ("stateful", "handle")
                and not lazy
                and name
                not in ("type", "id", "isinstance", "print", "repr", "callable", "hasattr", "getattr")
            ):
                self.use_up(value)
        if name in table["atom"]:
            return self._atom_result(name, args, node)
        if (
            name == "getattr"
            and len(args.values) > 1
            and args.values[1].text
            and "*" not in args.values[1].text
        ):
            return self.attribute(args.values[0], args.values[1].text)
        if name == "type":
            classes = frozenset((c, "self") for v in everything for c, r in v.code if r == "instance")
            return Value(args.roots, classes, None, args.packages)
        if name in ("memoryview", "super", "vars"):
            own = frozenset({"%0"}) if name == "super" and self.function is not None else NONE
            return Value(args.roots | own, args.code, None, args.packages)
        if name in table["share"] or lazy:
            return self._holding_result(name, args, lazy)
        if name[:1].isupper():
            return Value(type="atom" if not args.code else None, code=args.code)
        return Value(roots=args.roots, code=args.code, packages=args.packages)

    def _atom_result(self, name: str, args: Args, node: ast.Call) -> Value:
        if name == "range":
            return Value(type="list", atoms=True, full=self._range_turns(node))
        known = name in ("str", "int", "repr") and bool(args.values) and args.values[0].type == "atom"
        return Value(
            type="atom", atoms=True, packages=args.packages, text=args.values[0].text if known else None
        )

    def _holding_result(self, name: str, args: Args, lazy: bool) -> Value:
        """Return what holds the elements of the arguments, or one of them, or passes over them."""
        kinds = {"sorted": "list", "bytearray": "list"}
        kind = kinds.get(name, name if name in ("list", "dict", "set", "tuple") else None)
        contents = [part(v) for v in args.all if v.type != "function"]
        inner = holder("stateful" if lazy else kind or "list", contents)
        keeps = lazy or name in ("dict", "list", "tuple", "next", "getattr")
        code = args.code if keeps else inner.code
        if name in ("max", "min", "next", "getattr", "reversed") and not inner.atoms:
            return Value(inner.roots, code, None, inner.packages)
        return Value(
            args.roots if lazy else inner.roots,
            code,
            None,
            inner.packages,
            "stateful" if lazy else kind or ("atom" if inner.atoms else None),
            (inner.atoms and kind is not None) or not contents,
            full=bool(args.all) and all(v.full for v in args.all),
        )

    def escape(self, value: Value, others: list[Value], dunders: bool = False) -> None:
        """Note that library code gets hold of a value and may call it, or methods of it."""
        for code, role in value.code:
            held = Value(value.roots, frozenset({(code, role)}))
            if role == "instance":
                self.operate(held) if dunders else self.run_methods(held)
            elif role == "running":
                self.operate(held)
            elif isinstance(code.node, ast.ClassDef):
                if not dunders:
                    made = self.run(held, [Value(NONE.union(*(o.roots for o in others if o is not value)))])
                    self.run_methods(made)
            else:
                self.run(held, [Value(NONE.union(*(o.roots for o in others if o is not value)), type=None)])
        if self.function is not None:
            for root in value.roots:
                if root[0] == "%" and not dunders:
                    self.rec.called.add(int(root[1:]))

    # methods of objects

    def _method(self, base: Value, name: str, args: Args, node: ast.Call, discarded: bool) -> Value:
        files = self._file_method(base, name, args)
        if files is not None:
            return files
        if base.type in ("stateful", "shared", "handle") and base.packages | {"?"} and name != "copy":
            return self._stateful_method(base, name, args)
        kind = (
            "mutate"
            if name == "rotate" and base.type in (None, "list") and "PIL" not in base.packages
            else self.tables.method(name)
        )
        if base.code and base.packages:
            self.escape(base, args.all)
        if name in ("query", "eval") and args.values and args.values[0].text:
            for found in re.findall(r"@([A-Za-z_]\w*)", args.values[0].text):
                self.expr(ast.Name(id=found, ctx=ast.Load()))
        if name == "sample" and "random_state" not in args.named and base.type in (None, "frame"):
            self.change("@rng:numpy", SPECULATIVE)
        if base.type == "atom":
            text = base.text if name in ("format", "strip", "as_posix") and not args.all else None
            self._escape_all(args)
            return (
                Value(type="atom", packages=base.packages, text=text)
                if name not in ("split", "rsplit", "splitlines", "partition")
                else Value(type="list", atoms=True)
            )
        inplace = args.named.get("inplace")
        if inplace is not None and inplace.text != "False":
            self.mutate(base.roots, CERTAIN if inplace.text == "True" else SPECULATIVE)
            return ATOM
        self._outputs(args)
        if base.type == "plot":
            return self._plot_method(base, args)
        if kind in ("mutate", "fit") and not (
            base.type == "frame" and name in ("update_frame", "add", "pop_frame", "truncate", "rotate")
        ):
            return self._mutator(base, name, kind, args, node)
        self._escape_all(args)
        if kind is None:
            return self._unknown_method(base, name, args, node, discarded)
        return self._reading(base, name, kind, args)

    def _escape_all(self, args: Args) -> None:
        for value in args.all:
            self.escape(value, args.all)
            if value.type == "stateful" or value.type == "handle":
                self.use_up(value)

    def _outputs(self, args: Args) -> None:
        out = args.named.get("out")
        if out is not None:
            self.mutate(out.roots, CERTAIN)

    def _reading(self, base: Value, name: str, kind: str, args: Args) -> Value:
        packages = base.packages
        known = base.type in ("frame", "ndarray")
        if kind == "atom":
            return Value(
                packages=packages,
                type="frame" if base.type == "frame" else "atom" if base.type != "ndarray" else "ndarray",
            )
        if kind == "fresh":
            shallow = name in FRAME_COPIES and not known and base.type != "data" and not base.packages
            if shallow and not base.atoms:
                return Value(base.roots, base.code, None, packages, base.type)
            return Value(
                packages=packages,
                type=base.type if known or base.type == "dict" else None,
                code=base.code if shallow else frozenset(),
            )
        value = part(base) if name in ("get", "values", "items", "xs", "__getitem__") else base
        roots = value.roots.union(*(v.roots for v in args.values[1:] if name == "get"))
        kept = base.type if known else "list" if name in ("keys",) else None
        atoms = base.atoms and base.type in ("dict", "list")
        return Value(roots, value.code, None, packages, "atom" if atoms and name == "get" else kept, atoms)

    def _mutator(self, base: Value, name: str, kind: str, args: Args, node: ast.Call) -> Value:
        known = base.type in (
            "list",
            "dict",
            "set",
            "defaultdict",
            "data",
            "frame",
            "ndarray",
            "tuple",
        ) or bool(base.packages)
        if base.type == "frame" and name == "add":
            return Value(packages=base.packages, type="frame")
        self._escape_all(args)
        self.mutate(
            base.roots,
            CERTAIN if known or name in ("append", "extend", "update", "add", "fit") else SPECULATIVE,
        )
        if name not in self.tables.methods["mutate_shares_nothing"]:
            held = args.all
            if name in ("extend", "update", "extendleft"):
                held = [part(v) for v in args.values] + list(args.named.values()) + args.rest
            self.store(base, *held)
            assert isinstance(node.func, ast.Attribute)
            self.enrich(node.func.value, *held)
        if kind == "fit":
            self.spend(self._fit_weight(base))
            self._fit_draws(base)
        if name in self.tables.methods["result_fresh"]:
            return Value(packages=base.packages, type="ndarray" if kind == "fit" else None)
        if name in self.tables.methods["inplace_result"]:
            return base
        if name in (
            "append",
            "extend",
            "clear",
            "sort",
            "reverse",
            "update",
            "add",
            "discard",
            "insert",
            "remove",
        ):
            return ATOM if base.type not in ("frame",) else part(base)
        value = part(base)
        roots = value.roots.union(*(v.roots for v in args.values[1:]))
        return (
            value
            if not value.code and not roots
            else Value(roots, value.code, None, value.packages, value.type, value.atoms)
        )

    def _unknown_method(self, base: Value, name: str, args: Args, node: ast.Call, discarded: bool) -> Value:
        packages = [self.tables.packages.get(p) for p in base.packages]
        pure = bool(packages) and all(p is not None and p.get("pure") for p in packages)
        if not base.packages and not base.type:
            self.rec.opaque.append(ast.unparse(node)[:80])
        self.mutate(base.roots, SPECULATIVE)
        if not pure:
            for value in args.all:
                self.mutate(value.roots, SPECULATIVE)
            if discarded and base.packages and base.type not in ("data", "frame", "ndarray"):
                for package in base.packages:
                    if self.tables.packages.get(package) is None:
                        self.change_library(package)
        if self.function is not None:
            self.rec.called.update(int(r[1:]) for r in base.roots if r[0] == "%")
        self.store(base, *args.all)
        return Value(base.roots | args.roots, base.code | args.code, None, base.packages | args.packages)

    def _plot_method(self, base: Value, args: Args) -> Value:
        self._escape_all(args)
        self.mutate(base.roots, SPECULATIVE)
        return Value(base.roots, frozenset(), None, base.packages, "plot")

    def _stateful_method(self, base: Value, name: str, args: Args) -> Value:
        self.operate(base)
        self.use_up(base)
        if base.type == "shared":
            for package in base.packages:
                self.change("@lib:" + package)
            if "logging" in base.packages:
                self.log(args, name)
        for value in args.all:
            self.escape(value, args.all)
        if name in ("shuffle", "readinto", "send") or not base.packages:
            for value in args.values:
                self.mutate(value.roots, CERTAIN)
        if name in (
            "choice",
            "sample",
            "choices",
            "send",
            "put",
            "submit",
            "writerow",
            "writerows",
            "set_result",
        ):
            self.store(base, *args.all) if name in ("put", "submit", "send") else None
            return Value(base.roots | args.roots, base.code | args.code, None, base.packages)
        if name in self.tables.methods["rng"]:
            return Value(packages=base.packages, type="ndarray" if "numpy" in base.packages else "atom")
        if name in ("read", "readline", "getvalue", "write", "close", "seek", "tell", "readlines", "flush"):
            return Value(type="list" if name == "readlines" else "atom", atoms=True)
        return Value(
            base.roots,
            base.code,
            None,
            base.packages,
            "stateful" if name in ("execute", "cursor", "executemany") else None,
        )

    def _file_method(self, base: Value, name: str, args: Args) -> Value | None:
        path = base.text if base.text is not None else paths.ANY
        is_path = (
            "pathlib" in base.packages
            or (base.text is not None and base.type != "atom")
            or (not base.type and not base.packages)
        )
        if (
            name in PATH_READS | PATH_WRITES
            and is_path
            and base.type not in ("frame", "dict", "ndarray", "list")
        ):
            if name in ("glob", "rglob", "iterdir"):
                path = paths.join([path, (args.values[0].text or paths.ANY) if args.values else paths.ANY])
            self.rec.files(reads=[path])
            if name in PATH_WRITES:
                self.rec.files(
                    writes=[path] + [v.text or paths.ANY for v in args.values[:1] if name == "rename"]
                )
            return (
                ATOM
                if name not in ("glob", "rglob", "iterdir")
                else Value(packages=base.packages, type="list")
            )
        if name == "open" and is_path:
            return self.open_file(Args([Value(type="atom", text=path), *args.values], args.named, args.rest))
        target = (
            args.values[0]
            if args.values
            else next(
                (
                    args.named[k]
                    for k in ("path", "path_or_buf", "buf", "fname", "file", "fp")
                    if k in args.named
                ),
                None,
            )
        )
        if name in FILE_METHODS or (name in MAYBE_FILE and target is not None):
            if target is None:
                return None
            if target.type in ("stateful", "handle"):
                self.use_up(target)
            else:
                self.rec.files(writes=[target.text or paths.ANY])
            if base.type == "handle":
                self.use_up(base)
            return ATOM
        return None

    # anything else

    def _unknown(self, callee: Value, args: Args, node: ast.Call) -> Value:
        """Note a call of something the text does not tell: it may change its arguments, and itself."""
        self.mutate(callee.roots, SPECULATIVE)
        for value in args.all:
            self.mutate(value.roots, SPECULATIVE)
            self.escape(value, args.all)
        if self.function is not None:
            self.rec.called.update(int(r[1:]) for r in callee.roots if r[0] == "%")
        if not any(r[0] in "%^" for r in callee.roots):
            self.rec.opaque.append(ast.unparse(node)[:80])
        if args.roots | callee.roots:
            self.join(args.roots | callee.roots)
        return Value(
            callee.roots | args.roots, callee.code | args.code, None, callee.packages | args.packages
        )

    def run_call(self, callee: Value, args: Args) -> Value:
        raise NotImplementedError


def constant(node: ast.expr) -> str | None:
    """Return the text of a string literal."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def merged(values: list[Value]) -> Value:
    """Return one of `values`, whichever."""
    return union(*values)
