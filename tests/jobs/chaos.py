"""An adversary: it kills, stops and cuts off the processes of a run at moments that a seed decides."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time

from jup2kub.agent.wire import descendants

from .lab import Lab


class Proxy:
    """A line to the run server that can be cut, and made slow."""

    def __init__(self, port: int) -> None:
        self._to, self.delay = port, 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._open |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, target}
        source.close()

    def cut(self) -> None:
        """Break every connection that is open."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()


class Adversary:
    """Does `blows` bad things to a lab, one after the other; `done` tells what. Whoever is killed is replaced."""

    KINDS = (
        "kill agent",
        "end agent",
        "stop agent",
        "kill kernel",
        "kill server",
        "stop server",
        "cut",
        "delay",
    )

    def __init__(self, lab: Lab, proxy: Proxy, seed: int, blows: int) -> None:
        self.lab, self.proxy, self.blows = lab, proxy, blows
        self.chance = random.Random(seed)
        self.done: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Adversary:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _work(self) -> None:
        for _ in range(self.blows):
            if self._over.wait(self.chance.uniform(0.1, 2.5)):
                return
            kind = self.chance.choice(self.KINDS)
            self.done.append((time.time(), kind))
            getattr(self, f"_{kind.replace(' ', '_')}")()

    def _agent(self) -> int:
        alive = [n for n, p in enumerate(self.lab.agents) if p.poll() is None]
        return self.chance.choice(alive) if alive else -1

    def _kill_agent(self) -> None:
        number = self._agent()
        if number >= 0:
            self.lab.kill(number)
        self.lab.hire()

    def _end_agent(self) -> None:
        number = self._agent()
        if number >= 0:
            self.lab.agents[number].send_signal(signal.SIGTERM)
        self.lab.hire()

    def _stop_agent(self) -> None:
        self._stop(self._agent_pid(), self.chance.choice((0.5, 5.0)))

    def _agent_pid(self) -> int:
        number = self._agent()
        return self.lab.agents[number].pid if number >= 0 else 0

    def _stop(self, pid: int, seconds: float) -> None:
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._over.wait(seconds)
            os.kill(pid, signal.SIGCONT)

    def _kill_kernel(self) -> None:
        below = descendants(self._agent_pid() or -1)
        if below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(sorted(below)), signal.SIGKILL)

    def _kill_server(self) -> None:
        self.lab.server.kill()
        self.lab.server.wait()
        self._over.wait(self.chance.choice((0.0, 2.0)))
        self.lab.serve()

    def _stop_server(self) -> None:
        self._stop(self.lab.server.pid, self.chance.choice((0.5, 4.0)))

    def _cut(self) -> None:
        self.proxy.cut()

    def _delay(self) -> None:
        self.proxy.delay = self.chance.choice((0.0, 0.02, 0.1))
