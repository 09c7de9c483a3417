"""Calls of library functions, by the annotation tables."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.handed import Handed
from jup2kub.analyse.nested import TABLES, result_depth, shares_objects
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.values import ATOM, KERNEL_ITSELF, NONE, UNKNOWN, Names, Value, moving

VERBS = ("add", "start", "stop", "install", "remove", "unregister", "clear")
"""What functions of an unknown package begin with that change its state, whoever looks at their result."""
GENERATORS = ("@rng:random", "@rng:numpy", "@rng:torch")


class Libraries(Handed):
    """Adds calls of library functions to a walk."""

    displaying: ast.expr | None = None
    """The expression that the cell shows: if it hands notebook code over, it may well be there for its effect."""

    def run_methods(self, value: Value) -> None:
        raise NotImplementedError

    def run_method(self, value: Value, name: str) -> Value | None:
        raise NotImplementedError

    def import_module(self, dotted: str) -> Value:
        raise NotImplementedError

    # resources

    def change(self, resource: str, strength: int = CERTAIN) -> None:
        """Note that a resource changes and keeps part of what it was."""
        self.mutate(frozenset({resource}), strength)

    def define(self, resource: str) -> None:
        """Note that a resource is set, whatever it was."""
        if self.conditional:
            self.change(resource)
            return
        self.rec.assigned.add(resource)
        self.bound.add(resource)

    # calls

    def library_call(self, callee: Value, args: Args, node: ast.Call, discarded: bool) -> Value:
        dotted = callee.library or ""
        package = dotted.partition(".")[0]
        self.use_package(dotted)
        entry = self.tables.function(dotted)
        known = self.tables.packages.get(package)
        discarded = discarded or (
            self.displaying is node and not (known or {}).get("pure") and bool(args.code)
        )
        if known is not None and known.get("watches"):
            self.world.watched |= args.roots
            for value in args.all:
                self.keep("weakref", Value(code=value.code))
            self.join(args.roots)
        if f"@mod:{package}" in self.world.spaces and entry is None:
            return self._unknown_library(callee, args, package, False)
        if (entry is not None and "resource" in entry) or (
            callee.roots and dotted.count(".") > 1 and self._resource(dotted)
        ):
            return self._resource_method(dotted, args, callee)
        for value in args.all:
            self.drain(value)
            self.escape(value, args.all)
            if self.given_to_keep(dotted, value, discarded):
                self.keep(package, value)
        if entry is not None:
            self._entry_effects(entry, dotted, args, node)
            if entry.get("opens"):
                return self.open_file(args)
        if package == "logging":
            self.log(args, dotted)
        self.outputs(dotted, args)
        if known is None and entry is None:
            return self._unknown_library(callee, args, package, discarded)
        self._draws(dotted, package, args, known or {})
        if known is not None and not known.get("pure") and entry is None:
            if discarded or self.tables.setter(dotted):
                self.change_library(package)
        elif (
            entry is None
            and (self.tables.setter(dotted) and not self._plots(package))
            and package not in ("os", "itertools", "math")
        ):
            self.change_library(package)
        elif entry is None and self.in_place(dotted):
            self.change("@lib:" + ("matplotlib" if self._plots(package) else package))
        return self._library_result(entry or {}, known or {}, dotted, args)

    def _resource(self, dotted: str) -> bool:
        head = dotted.rpartition(".")[0]
        entry = self.tables.function(head)
        return bool(entry and "resource" in entry)

    def _resource_method(self, dotted: str, args: Args, callee: Value) -> Value:
        name = dotted.rpartition(".")[2]
        for resource in callee.roots:
            self.read(resource)
            if self.tables.method(name) == "mutate" or name not in (
                "get",
                "items",
                "keys",
                "values",
                "copy",
                "index",
                "count",
                "find_all",
            ):
                self.change(resource)
        for value in args.all:
            self.escape(value, args.all)
        return ATOM

    def _unknown_library(self, callee: Value, args: Args, package: str, discarded: bool) -> Value:
        for value in args.all:
            self.mutate(value.roots, SPECULATIVE)
        for generator in GENERATORS:
            self.change(generator, SPECULATIVE)
        dotted = callee.library or package
        constructs = dotted.rpartition(".")[2][:1].isupper()
        verb = dotted.rpartition(".")[2]
        if discarded or self.tables.setter(dotted) or verb.startswith(VERBS) or self.in_place(dotted):
            self.change_library(package)
        kind = "data" if constructs else "shared"
        return Value(
            args.roots,
            args.code,
            None,
            args.packages | {package},
            kind if args.roots or constructs else "shared",
        )

    def _entry_effects(self, entry: Mapping[str, Any], dotted: str, args: Args, node: ast.Call) -> None:
        for key in entry.get("mutates", ()):
            value = args.get(key)
            if value is not None and value.library is not None:
                self.change_library(value.library.partition(".")[0])
            elif value is not None:
                self.mutate(value.roots, CERTAIN)
                if entry.get("stores"):
                    self.store(value, *args.values[1:])
                    self.enrich(node.args[key], *args.values[1:])
        for resource in entry.get("reads", ()):
            self.read(resource)
        if not entry.get("restores"):
            for resource in entry.get("writes", ()):
                self.change(resource) if entry.get("may") else self.define(resource)
        if "draws" in entry:
            self.change(entry["draws"])
        if "seeds" in entry:
            self.define(entry["seeds"]) if args.all else self.rec.effects.add("unseeded")
        if "draws_unless" in entry and entry["draws_unless"] not in args.named:
            self.change(entry["rng"])
        self.rec.effects.update(entry.get("effects", ()))
        if entry.get("all_files"):
            for resource in ("@env", "@cwd"):
                self.read(resource)
        if entry.get("generator") and (
            not args.all or (args.values[:1] == [ATOM] and not args.named and args.values[0].text == "None")
        ):
            self.rec.effects.add("unseeded")
        if entry.get("barrier"):
            self.rec.stop(entry["barrier"])
        if entry.get("collects"):
            self.collect()
        if entry.get("figures"):
            self.world.figures = True
            self.define("@lib:matplotlib")
        if entry.get("sleeps"):
            self.spend(_number(args.values[0].text if args.values else None))
        self.spend(float(entry.get("weight", 0.0)))
        self._entry_files(entry, args)

    def _entry_files(self, entry: Mapping[str, Any], args: Args) -> None:
        if entry.get("all_files"):
            self.rec.files([paths.ANY], [paths.ANY])
        for kind in ("reads_file", "writes_file", "lists", "removes_tree"):
            for key in entry.get(kind, ()):
                value = args.get(key)
                if value is None:
                    value = next(
                        (v for k, v in args.named.items() if any(w in k for w in ("file", "path", "fname"))),
                        None,
                    )
                if value is None and args.values[:1] and kind == "lists":
                    value = args.values[0]
                if value is None and kind == "lists":
                    value = Value(type="atom", text="*")
                if value is not None:
                    self._file(kind, value)

    def _file(self, kind: str, value: Value) -> None:
        if value.type in ("stateful", "handle"):
            self.use_up(value)
            return
        text = value.text if value.text is not None else paths.ANY
        if text.startswith(("http:", "https:", "ftp:", "s3:", "gs:")):
            self.rec.effects.add("network")
        elif kind == "lists":
            self.rec.files(reads=[paths.join([text, "*"])])
        elif kind == "removes_tree":
            self.rec.files(writes=[text, paths.join([text, "*"])])
        else:
            self.rec.files(reads=[text])
            if kind == "writes_file":
                self.rec.files(writes=[text])

    def _draws(self, dotted: str, package: str, args: Args, known: Mapping[str, Any]) -> None:
        name = dotted.rpartition(".")[2]
        random = package == "sklearn" and name in self.tables.estimators["sklearn_random"]
        if random and name[:1].islower() and "random_state" not in args.named:
            self.change("@rng:numpy", SPECULATIVE)
        for generator in known.get("draws", ()):
            if (
                name in ("rvs", "resample", "bootstrap", "permutation_test")
                and "random_state" not in args.named
            ):
                self.change(generator)

    def _fit_draws(self, base: Value) -> None:
        if base.mode == "random":
            self.change("@rng:numpy", SPECULATIVE)

    def _fit_weight(self, base: Value) -> float:
        return 5.0 if base.mode == "search" else 0.5

    def _library_result(
        self, entry: Mapping[str, Any], known: Mapping[str, Any], dotted: str, args: Args
    ) -> Value:
        package = dotted.partition(".")[0]
        packages = args.packages | {package}
        kind = entry.get("result")
        name = dotted.rpartition(".")[2]
        roots, code = self._result_roots(entry, known, args, name[:1].isupper()), self.code_in(kind, args)
        if entry.get("generator"):
            return Value(type="stateful", packages=packages)
        if kind == "atom":
            return Value(
                type="atom",
                packages=packages if entry.get("keep") else NONE,
                text=paths.made_by(dotted, args.values),
            )
        if kind in ("handle", "stateful"):
            path = args.values[0].text if kind == "handle" and args.values else None
            return Value(roots, code, None, packages, kind, text=path, mode="w" if path else "")
        if kind == "shared":
            return Value(frozenset({entry["shared"]}), code, None, packages, "shared")
        if kind in ("definition", "cached", "decorator"):
            shape = kind if kind == "cached" else "partial" if dotted == "functools.partial" else "definition"
            return Value(roots, code, dotted if kind == "decorator" else None, packages, shape)
        if kind == "shell":
            return KERNEL_ITSELF
        if kind == "same":
            return args.values[0] if args.values else Value(library=dotted)
        if kind == "plots":
            return self._drawing(name, packages)
        if entry.get("displays"):
            return self.display("display", args)
        if entry.get("updates_display"):
            return self.display("update_display", args)
        if dotted.startswith("pathlib."):
            text = paths.join([v.text or paths.ANY for v in args.values]) if args.values else "."
            return Value(type=None, packages=packages, text=text)
        if self._plots(package):
            if self.world.figures:
                self.change("@lib:matplotlib", SPECULATIVE)
            return self._drawing(name, packages)
        if kind in ("ndarray", "frame", "dict", "list", "defaultdict", "data"):
            full = package == "numpy" and self.filled(name, args.values, args.named)
            depth = result_depth(dotted, args) if kind in TABLES else 0
            return Value(roots, code, None, packages, kind, full=full, depth=depth)
        made = self._by_package(known, dotted, args, roots, packages)
        return replace(made, code=frozenset()) if entry.get("plain") else made

    def _by_package(
        self, known: Mapping[str, Any], dotted: str, args: Args, roots: Names, packages: Names
    ) -> Value:
        """Return the result of a function of which only the package tells what it is."""
        name, code = dotted.rpartition(".")[2], args.code
        if known.get("atoms"):
            return Value(type="atom", packages=packages)
        if known.get("stateful"):
            return Value(
                args.roots,
                code,
                None,
                packages,
                "stateful",
                moves=moving(args.all),
                mode="tee" if name == "tee" else "",
            )
        if dotted.startswith("numpy."):
            full = self.filled(name, args.values, args.named)
            return Value(roots, code, None, packages, "ndarray", full=full)
        if name[:1].isupper():
            mode = "search" if name.endswith("SearchCV") else self._random_mode(name, args)
            return Value(roots, code, None, packages, "data", mode=mode)
        return Value(roots, code, None, packages)

    def _result_roots(
        self, entry: Mapping[str, Any], known: Mapping[str, Any], args: Args, constructs: bool
    ) -> Names:
        """Return the labels of the arguments that a result may share: what writes to a stream holds it."""
        if shares_objects(args):
            return args.roots
        shares = known.get("shares") and not entry.get("fresh") and "result" not in entry
        if not entry.get("view") and not shares:
            return args.streamed if entry.get("result") != "atom" and constructs else NONE
        return NONE.union(*(v.roots for v in args.all if not v.plain and not copied(v, entry)))

    def _drawing(self, name: str, packages: Names) -> Value:
        """Return what a plotting function makes; of `subplots` a figure and its axes, at least one, which share it."""
        if name != "subplots":
            return Value(type="plot", packages=packages)
        self.world.current += 1
        plot = Value(frozenset({f"!{self.world.current}"}), type="plot", packages=packages)
        return replace(plot, items=(plot, replace(plot, full=True)))

    def _random_mode(self, name: str, args: Args) -> str:
        asked = self.tables.estimators["sklearn_only_asked"].get(name)
        random = name in self.tables.estimators["sklearn_random"] and "random_state" not in args.named
        return "random" if random and (asked is None or asked in args.named) else ""

    # files and displays

    def open_file(self, args: Args) -> Value:
        """Note the opening of a file; the handle remembers path and mode."""
        path = args.get(0) or args.get("file") or UNKNOWN
        mode_value = args.get(1) or args.get("mode")
        mode = "r" if mode_value is None else (mode_value.text or "?")
        text = path.text if path.text is not None else paths.ANY
        if path.type in ("stateful", "handle"):
            self.use_up(path)
            return Value(path.roots, type="handle", text=path.text, mode=path.mode)
        self.rec.files(reads=[text])
        if paths.writing(mode):
            self.rec.files(writes=[text])
        return Value(type="handle", text=text, mode=mode, atoms=False)

    def log(self, args: Args, dotted: str) -> None:
        """Note that a log may go into the files that logging was told of."""
        target = args.named.get("filename") or (args.get(0) if dotted.endswith("FileHandler") else None)
        if target is not None:
            self.world.log_files.append(target.text or paths.ANY)
        self.rec.files(writes=self.world.log_files)

    def display(self, name: str, args: Args) -> Value:
        """Note `display` and its handles: later updates follow the display that they change."""
        for value in args.all:
            self.escape(value, args.all, dunders=True)
        handle = args.named.get("display_id")
        if name == "update_display":
            self.change(f"@display:{handle.text}" if handle and handle.text else "@display:*")
            return ATOM
        if handle is None:
            return ATOM
        if handle.text and handle.text not in ("True", "*"):
            self.change(f"@display:{handle.text}")
            return Value(
                frozenset({f"@display:{handle.text}"}), type="stateful", packages=frozenset({"IPython"})
            )
        return Value(type="stateful", packages=frozenset({"IPython"}))

    def suppresses(self, node: ast.expr, value: Value) -> bool:
        """Whether a context manager may swallow an exception of its body."""
        if value.code:
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            return name in ("suppress", "raises", "assertRaises", "ExitStack")
        return False


def copied(value: Value, entry: Mapping[str, Any]) -> bool:
    """Whether the result of a function that `entry` describes shares nothing with an argument, a display or container."""
    what = entry.get("copies")
    if what is None or value.type not in ("dict", "list", "tuple"):
        return False
    return value.atoms or (what == "arrays" and value.flat)


def _number(text: str | None) -> float:
    try:
        return float(text or "1")
    except ValueError:
        return 1.0
