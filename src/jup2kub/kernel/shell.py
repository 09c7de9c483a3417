"""The IPython shell of a real ipykernel, without its sockets, threads and debugger.

ipykernel's own application, kernel, shell, display hook and compiler are used, so that settings, startup files,
file names of cells, tracebacks and mime bundles are what Jupyter gives; only the session is ours: it hands every
message to a callback instead of a socket.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
import threading
import types
import uuid
from typing import Any, Callable

from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel as KernelBase
from IPython.core.application import BaseIPythonApplication
from jupyter_client.session import Session
from tornado.ioloop import IOLoop
from traitlets import Any as Any_
from traitlets.config import Config

try:
    import comm as comm_package
except ImportError:  # ipykernel < 6.18 brings its own
    comm_package = None  # type: ignore[assignment]

Publish = Callable[[str, Any, Session], None]

SHOWN = ("display_data", "execute_result", "update_display_data", "clear_output", "error")
"""Messages that end in a cell's outputs."""
WIDGETS = ("comm_open", "comm_msg", "comm_close")


class CapturedSession(Session):
    """A session that gives messages to `publish` instead of a socket."""

    publish: Publish | None = None

    def send(self, stream: Any, msg_or_type: Any, content: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Build the message as usual and publish it; a process forked by the user's code publishes nothing."""
        if isinstance(msg_or_type, str):
            message = self.msg(msg_or_type, content=content, parent=kwargs.get("parent"))
        else:
            message = msg_or_type
        kind = message["header"]["msg_type"]
        if self.publish is not None and (kind in SHOWN or kind in WIDGETS):
            self.publish(kind, message["content"], self)
        return message


class ChildKernel(IPythonKernel):
    """`IPythonKernel` without debugger, sockets and threads."""

    debugger_class = Any_()  # its import would be a third of the start

    def __init__(self, **kwargs: Any) -> None:
        # The parent's own __init__ is left out: it imports and starts the debugger.
        KernelBase.__init__(self, **kwargs)
        shell: Any = self.shell_class.instance(
            parent=self,
            profile_dir=self.profile_dir,
            user_module=self.user_module,
            user_ns=self.user_ns,
            kernel=self,
            compiler_class=getattr(self, "compiler_class", XCachingCompiler),  # a trait since ipykernel 7
        )
        self.shell = shell
        shell.displayhook.session = self.session
        shell.displayhook.topic = self._topic("execute_result")
        shell.display_pub.session = self.session
        if os.environ.get("JPY_SESSION_NAME"):
            shell.user_ns["__session__"] = os.environ["JPY_SESSION_NAME"]
        if comm_package is not None:
            self.comm_manager = comm_package.get_comm_manager()
        # `do_execute` asks whether it runs in the main thread.
        self.shell_channel_thread = types.SimpleNamespace(
            parent_thread=threading.main_thread(), manager=None, io_loop=None
        )

    @property
    def io_loop(self) -> IOLoop:  # type: ignore[override]
        """The event loop that cells run in."""
        return IOLoop.current()

    def record_ports(self, ports: Any) -> None:
        """There are none."""


class ChildApp(IPKernelApp):
    """`IPKernelApp` as far as it configures the shell."""

    kernel_class = ChildKernel
    blocking_class = Any_()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.publish: Publish | None = None

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the configuration, then make session, kernel and shell, and run the user's startup files."""
        BaseIPythonApplication.initialize(self, argv)
        # The history thread would make forks unsafe; In and Out work without it.
        self.update_config(Config({"HistoryManager": {"enabled": False}}))
        self.init_pdb()
        self.session = CapturedSession(parent=self, username="kernel")
        self.configure_tornado_logger()
        self.patch_io()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.kernel = self.kernel_class.instance(
            parent=self,
            session=self.session,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=self.user_ns,
        )
        self.init_path()
        self.init_shell()
        self.init_gui_pylab()
        self.init_extensions()
        self.init_code()
        self.session.publish = self.publish


class Shell:
    """Runs cells, one at a time, in one event loop and one context for life.

    `publish(kind, content, session)` gets every output message of the running cell.
    """

    def __init__(self, argv: list[str], publish: Publish) -> None:
        spec = importlib.util.find_spec("ipykernel_launcher")
        sys.argv = [(spec.origin if spec else None) or "ipykernel_launcher.py", *argv]
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        app = ChildApp.instance()
        app.publish = publish
        app.initialize(argv)
        self.app = app
        self.kernel = app.kernel
        self.ip: Any = app.shell
        self._request: asyncio.Future[Callable[[], Any]] | None = None
        self._reply: list[Any] = []
        self._driver = self.loop.create_task(self._drive())
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's globals: the dictionary of module `__main__`."""
        found: dict[str, Any] = self.ip.user_ns
        return found

    def run(self, source: str, count: int, inputs: dict[int, str] | None = None) -> dict[str, Any]:
        """Run a cell as execution number `count`. Returns ipykernel's reply: status, ename, evalue, traceback.

        `inputs`: sources of cells that ran elsewhere, by execution number, for ``In``.
        """
        self._place(count, inputs or {})
        found = self._drive_with(lambda: self._execute(source))
        if found is None:
            return {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
        return dict(found)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` where cells run, so that it sees their context variables; its exception is raised here."""

        async def called() -> tuple[Any, BaseException | None]:
            try:
                return function(), None
            except Exception as error:
                return None, error

        found = self._drive_with(called)
        if found is None:
            raise KeyboardInterrupt
        if found[1] is not None:
            raise found[1]
        return found[0]

    def _drive_with(self, make: Callable[[], Any]) -> Any:
        """Let the driver await `make()` and return the result; None if an interrupt has ended the driver itself."""
        if self._request is None or self._driver.done():
            self._driver = self.loop.create_task(self._drive())
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        assert self._request is not None
        self._reply = []
        self._request.set_result(make)
        while not self._reply and not self._driver.done():
            with contextlib.suppress(KeyboardInterrupt):
                # An interrupt between the lines of the event loop: the cell itself ends as it can.
                self.loop.run_forever()
        return self._reply[0] if self._reply else None

    async def _drive(self) -> None:
        # One task for life: context variables that a cell sets are there in the next one, as in ipykernel.
        while True:
            self._request = self.loop.create_future()
            make = await self._request
            self._reply.append(await make())
            self.loop.stop()

    async def _execute(self, source: str) -> dict[str, Any]:
        parent = {
            "header": {
                "msg_id": uuid.uuid4().hex,
                "msg_type": "execute_request",
                "session": self.app.session.session,
            },
            "metadata": {},
            "content": {"code": source, "silent": False},
        }
        self.kernel.set_parent([], parent)
        try:
            self.kernel.pre_handler_hook()
            found: dict[str, Any] = await self.kernel.do_execute(source, False, True, {}, False)
        except (KeyboardInterrupt, asyncio.CancelledError) as stop:
            found = {"status": "error", "ename": type(stop).__name__, "evalue": "", "traceback": []}
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                self.kernel.post_handler_hook()
        return found

    def _place(self, count: int, inputs: dict[int, str]) -> None:
        """Make `count` the number of the next cell, also if cells between ran elsewhere."""
        self.ip.execution_count = count
        history = self.ip.history_manager
        for kept in (history.input_hist_parsed, history.input_hist_raw):
            del kept[count:]
            kept.extend([""] * (count - len(kept)))
            for number, source in inputs.items():
                if number < count and not kept[number]:
                    kept[number] = source

    @property
    def pending(self) -> bool:
        """Whether the user's code has left tasks or timers in the event loop."""
        tasks = [t for t in asyncio.all_tasks(self.loop) if t is not self._driver]
        return bool(tasks or getattr(self.loop, "_scheduled", None))

    def idle_until_readable(self, fd: int) -> None:
        """Let left-over tasks go on until `fd` can be read."""
        if self.pending:
            self.loop.add_reader(fd, self.loop.stop)
            try:
                self.loop.run_forever()
            finally:
                self.loop.remove_reader(fd)
