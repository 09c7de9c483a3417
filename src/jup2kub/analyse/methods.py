"""Calls of methods of objects, by the type where it is known, else by the method's name."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.builtincalls import BuiltinCalls
from jup2kub.analyse.nested import method_depth
from jup2kub.analyse.record import CERTAIN, CONDITIONAL, SPECULATIVE, OpaqueOf
from jup2kub.analyse.values import ATOM, Value, holder, pairs, part

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


TAKES_NOTHING = frozenset(
    [
        "write",
        "writelines",
        "writerow",
        "writerows",
        "execute",
        "executemany",
        "executescript",
        "dump",
        "writestr",
    ]
)
"""Methods of files, databases and other objects with a state that copy what they are given."""
LOGS = frozenset({"logging"})
EMITS = frozenset(["debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"])
"""Methods of a logger that write a line."""
KNOWN_TYPES = frozenset({"list", "dict", "set", "defaultdict", "data", "frame", "ndarray", "tuple"})


class Methods(BuiltinCalls):
    """Adds methods to a walk."""

    def shell_method(self, name: str, given: list[Value]) -> Value:
        raise NotImplementedError

    def _method(self, base: Value, name: str, args: Args, node: ast.Call, discarded: bool) -> Value:
        outlives = name in ("__enter__", "__exit__") or (
            name in ("enter_context", "close") and "contextlib" in base.packages
        )
        if outlives and not base.code and not base.roots & self.bound:
            self.rec.stop("it enters or leaves a context for other cells, too")
        if base.type == "shell":
            return self.shell_method(name, args.all)
        self.outputs(name, args)
        files = self._file_method(base, name, args)
        if files is not None:
            return files
        if base.type in ("stateful", "shared", "handle") and base.packages | {"?"} and name != "copy":
            return self._stateful_method(base, name, args, node)
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
            self.drain(value)

    def _reading(self, base: Value, name: str, kind: str, args: Args) -> Value:
        packages = base.packages
        known = base.type in ("frame", "ndarray")
        if kind == "atom":
            return Value(
                packages=packages,
                type="frame" if base.type == "frame" else "atom" if base.type != "ndarray" else "ndarray",
            )
        if kind == "fresh":
            depth = method_depth(base, name, args, self._returned(args)) if known else 0
            if depth:  # the copy is new, the objects in it are not
                return Value(base.roots, packages=packages, type=base.type, depth=depth)
            shallow = name in FRAME_COPIES and not known and base.type != "data" and not base.packages
            if shallow and not base.atoms:
                return Value(base.roots, base.code, None, packages, base.type)
            return Value(
                packages=packages,
                type=base.type if known or base.type == "dict" else None,
                code=base.code if shallow else frozenset(),
            )
        if name in ("tolist", "to_list") and base.type == "ndarray":
            return Value(type="list", packages=packages)
        if name == "items" and base.type in ("dict", "defaultdict") and not args.all:
            return pairs(base)
        if name == "values" and base.type in ("dict", "defaultdict") and not args.all:
            return replace(holder("list", [part(base)]), roots=base.roots, full=base.full)  # a live view
        if (name == "keys" and base.keyed) or name in self.tables.methods["views_of_atoms"]:
            return Value(base.roots, packages=packages, type="list", atoms=True)  # a live view
        value = part(base) if name in ("get", "values", "items", "xs", "__getitem__") else base
        roots = value.roots.union(*(v.roots for v in args.values[1:] if name == "get"))
        kept = base.type if known else "list" if name in ("keys",) else None
        atoms = base.atoms and base.type in ("dict", "list")
        return Value(roots, value.code, None, packages, "atom" if atoms and name == "get" else kept, atoms)

    def _returned(self, args: Args) -> list[Value]:
        """Return what functions among the arguments give back."""
        code = [c for v in args.all for c, role in v.code if role == "self"]
        return [self.summary(c).returns for c in code if isinstance(c.node, (ast.Lambda, ast.FunctionDef))]

    def _fits_itself(self, base: Value) -> bool:
        """Whether a fit changes the model alone, nothing that it was given."""
        known = [self.tables.packages.get(p) for p in base.packages]
        return any(k is not None and k.get("fits_itself") for k in known)

    def _mutator(self, base: Value, name: str, kind: str, args: Args, node: ast.Call) -> Value:
        known = base.type in KNOWN_TYPES or bool(base.packages)
        if base.type == "frame" and name == "add":
            return Value(packages=base.packages, type="frame")
        self._escape_all(args)
        strength = CERTAIN if known or name in ("append", "extend", "update", "add", "fit") else SPECULATIVE
        assert isinstance(node.func, ast.Attribute)
        if kind != "fit" or not self._fits_itself(base):
            self.mutate(base.roots, strength)
        elif isinstance(node.func.value, ast.Name):
            for label in base.roots:
                self.rec_mark(label, CONDITIONAL if self.conditional else strength)
        if name not in self.tables.methods["mutate_shares_nothing"]:
            held = args.all
            if name in ("extend", "update", "extendleft"):
                held = [part(self.given_out(v)) for v in args.values] + list(args.named.values()) + args.rest
            self.store(base, *held)
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
            self.opaque_method(base, ast.unparse(node)[:80], discarded)
        self.mutate(base.roots, SPECULATIVE)
        if not pure:
            for value in args.all:
                self.mutate(value.roots, SPECULATIVE)
            if discarded:
                self.change_libraries(base)
        if self.function is not None:
            self.rec.called.update(int(r[1:]) for r in base.roots if r[0] == "%" and r[1:].isdigit())
        self.store(base, *args.all)
        return Value(base.roots | args.roots, base.code | args.code, None, base.packages | args.packages)

    def opaque_method(self, base: Value, text: str, discarded: bool) -> None:
        """Note a call of a method of an object of which nothing is known; of a parameter the caller may know it."""
        labels = frozenset(r for r in base.roots if r[0] == "%" and r[1:].isdigit())
        if self.function is not None and labels and not base.roots - labels:
            found = OpaqueOf(text, labels, discarded)
            if found not in self.rec.opaque_of:
                self.rec.opaque_of.append(found)
        elif text not in self.rec.opaque:
            self.rec.opaque.append(text)

    def change_libraries(self, base: Value) -> None:
        """Note that a method whose result is not used may change the state of the libraries that made its object."""
        if base.type not in ("data", "frame", "ndarray"):
            for package in base.packages:
                if self.tables.packages.get(package) is None:
                    self.change_library(package)

    def _plot_method(self, base: Value, args: Args) -> Value:
        self._escape_all(args)
        self.mutate(base.roots, SPECULATIVE)
        return Value(base.roots, frozenset(), None, base.packages, "plot")

    def _emit(self, args: Args, name: str) -> Value:
        """Note that a line goes to a log: to the streams and files that its handlers write to, which keep nothing of it."""
        self.read("@lib:logging")
        self.log(args, name)
        for value in args.all:
            self.escape(value, args.all, dunders=True)  # what `%s` asks of it
        return ATOM

    def _stateful_method(self, base: Value, name: str, args: Args, node: ast.Call) -> Value:
        if base.type == "shared" and name in EMITS and not self.world.logs_aside and base.packages == LOGS:
            return self._emit(args, name)
        self.operate(base)
        self.use_up(base)
        if base.type == "shared":
            for package in base.packages:
                self.change("@lib:" + package)
                for value in args.all:
                    if value.code or not logs(package, name):
                        self.keep(package, value)
            if "logging" in base.packages:
                self.log(args, name)
        for value in args.all:
            self.escape(value, args.all)
        if name not in TAKES_NOTHING and name not in self.tables.methods["rng"]:
            self.store(base, *args.all)
            self.enrich(node.func, *args.all)
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
            elif base.type == "data" and base.packages and base.roots:
                self.mutate(base.roots, SPECULATIVE)
            return ATOM
        return None


def logs(package: str, name: str) -> bool:
    """Whether a method only writes a line of a log, and lets go of what it was given."""
    return package == "logging" and not name.startswith(("add", "set"))
