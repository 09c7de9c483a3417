"""What magics and shell commands do that are not Python."""

from __future__ import annotations

import ast

from jup2kub.analyse import paths
from jup2kub.analyse.functions import Functions
from jup2kub.analyse.magics import RUNS_APART, RUNS_HERE, SHELL, SHOWS, magic_of, shell_is_quiet, shell_names
from jup2kub.analyse.values import ATOM, KERNEL_ITSELF, UNKNOWN, Value

CALLED_BY_NAME = frozenset({"push", "register_magic_function", "register_magics", "define_magic"})
"""Methods of the kernel by which functions get a name; nothing runs until somebody uses it."""


class KernelCalls(Functions):
    """Adds magics to a walk."""

    def kernel_call(self, node: ast.Call, name: str) -> Value | None:
        found = magic_of(node)
        if found is None:
            return self.shell_method(name, self.arguments(node).all)
        kind, texts = found
        if kind in ("system", "getoutput", "system_raw", "getoutput_raw"):
            return self._shell(texts[0] if texts else "")
        if kind in ("run_line_magic", "run_cell_magic", "magic") and texts:
            self._magic(texts[0], texts[1] if len(texts) > 1 else "", texts[2] if len(texts) > 2 else "")
            return ATOM if texts[0] not in ("system", "sx") else Value(type="list", atoms=True)
        self.rec.stop("it uses the kernel itself")
        return UNKNOWN

    def shell_method(self, name: str, given: list[Value]) -> Value:
        """Note a call of a method of the kernel, which keeps the functions it is given: they may run in every later cell."""
        self.rec.stop("it uses the kernel itself")
        for value in given if name not in CALLED_BY_NAME else ():
            if value.code:
                self.keep("IPython", value)
        return KERNEL_ITSELF

    def _shell(self, command: str) -> Value:
        for text in shell_names(command):
            try:
                self.operate(
                    self.expr(
                        ast.parse(text.split(":")[0].strip() if ":" in text else text, mode="eval").body
                    )
                )
            except SyntaxError:
                continue
        self.rec.effects.add("shell")
        for resource in ("@env", "@cwd"):
            self.read(resource)
        self.rec.files([paths.ANY], [] if shell_is_quiet(command) else [paths.ANY])
        if any(word in command.split() for word in ("pip", "conda", "mamba", "uv")):
            self.rec.stop("it installs software")
        return Value(type="list", atoms=True)

    def _magic(self, name: str, line: str, body: str) -> None:
        words = line.split()
        if name in RUNS_HERE | RUNS_APART:
            self.rec.stop(f"the text after %{name} is not Python")
        elif name in SHELL:
            self._shell(line + "\n" + body)
            for flag in ("--out", "--err"):
                if flag in words[:-1]:
                    self.assign(words[words.index(flag) + 1], ATOM)
        elif name in SHOWS:
            return
        elif name in ("writefile", "file"):
            self._write_file(line, body)
        elif name in ("cd", "pushd", "popd"):
            self._named(line)
            self.rec.files(reads=[words[-1] if words and "{" not in line and "$" not in line else paths.ANY])
            self.change("@cwd") if line.strip() in ("-", "..", "") or name != "cd" else self.define("@cwd")
        elif name in ("env", "set_env"):
            self._named(line)
            self.read("@env")
            if len(words) > 1 or "=" in line:
                self.change("@env")
        elif name in ("pwd", "ls", "ll"):
            self.read("@cwd")
            self.rec.files([paths.ANY])
        elif name in ("cat", "head", "tail", "less", "more", "pycat"):
            self.rec.files([line.strip() or paths.ANY])
        elif name in ("mkdir", "rmdir", "rm", "mv", "cp"):
            self.rec.files([paths.ANY], [paths.ANY])
        elif not self._setting(name, line):
            self.rec.stop(f"nothing is known of the magic %{name}")

    def _named(self, line: str) -> None:
        for text in shell_names(line):
            if text.isidentifier():
                self.expr(ast.Name(id=text, ctx=ast.Load()))

    def _write_file(self, line: str, body: str) -> None:
        words = [w for w in line.split() if w not in ("-a", "--append")]
        self._named(line)
        path = words[0].strip("'\"") if words and "{" not in words[0] and "$" not in words[0] else paths.ANY
        if words != line.split():
            self.rec.files(reads=[path])
        self.rec.files(writes=[path])
        if path.endswith(".py"):
            name = path[:-3].removesuffix("/__init__").removeprefix("./").replace("/", ".")
            before = self.world.modules.get(name, "") if words != line.split() else ""
            self.world.modules = {**self.world.modules, name: before + body}

    def _setting(self, name: str, line: str) -> bool:
        if name == "matplotlib":
            if line.strip() not in ("inline", "", "--list"):
                self.world.figures = True
                self.change("@lib:matplotlib")
            return True
        if name == "config":
            self.change("@rc:matplotlib" if "InlineBackend" in line else "@lib:builtins")
            return True
        if name in ("load_ext", "reload_ext", "autoreload", "aimport"):
            self.change("@lib:IPython")
            return True
        if name in ("pinfo", "pinfo2", "pdoc", "psource", "pdef", "pfile"):
            target = line.strip().strip("?")
            try:
                self.expr(ast.parse(target, mode="eval").body)
            except SyntaxError:
                return False
            return True
        return name in ("colors", "xmode", "pdb", "logstop")
