"""State that no name of the notebook holds: generators, environment, working folder, settings of loaded libraries.

Only libraries that the user has imported are looked at. Call everything from where cells run: some of this state lives
in context variables.
"""

from __future__ import annotations

import array
import contextlib
import os
import sys
import time
import warnings
from typing import Any, Callable

from . import environment

State = Any
"""Plain data; equal states compare equal."""

TWIST = 2496
"""Bytes that a Mersenne twister gives between two states."""
TWISTS = 10000
"""How many states of it are followed, at most, to tell drawing from seeding."""
TWIST_SECONDS = 2e-6
"""Less than drawing that much takes."""

SMALL_SEED = 1 << 32
"""torch starts from 53 random bits: a smaller seed was given by someone."""
TORCH_SEED = 67280421310721
"""Old versions of torch always start from this one: their numbers are a promise."""


class Unavailable(LookupError):
    """The resource is unknown here, or its state cannot be carried."""


def _python_random() -> State:
    return sys.modules["random"].getstate()


def _put_python_random(state: State) -> None:
    sys.modules["random"].setstate(state)


def _legacy_numpy() -> Any:
    return sys.modules["numpy.random.mtrand"]._rand


def _numpy_random() -> State:
    name, key, *rest = _legacy_numpy().get_state()
    return (name, key.tobytes(), *rest)


def _put_numpy_random(state: State) -> None:
    name, key, *rest = state
    numpy = sys.modules["numpy"]
    _legacy_numpy().set_state((name, numpy.frombuffer(key, dtype=numpy.uint32), *rest))


def _torch_random() -> State:
    torch = sys.modules["torch"]
    return (torch.get_rng_state().numpy().tobytes(), torch.initial_seed())


def _put_torch_random(state: State) -> None:
    torch = sys.modules["torch"]
    torch.set_rng_state(torch.frombuffer(bytearray(state[0]), dtype=torch.uint8))


def _put_filters(state: State) -> None:
    filters: Any = warnings.filters
    filters[:] = state
    with contextlib.suppress(AttributeError):
        warnings._filters_mutated_lock_held()  # type: ignore[attr-defined]
    with contextlib.suppress(AttributeError):
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _rc() -> State:
    return dict(dict.items(sys.modules["matplotlib"].rcParams))


def _put_rc(state: State) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in state.items():
            dict.__setitem__(sys.modules["matplotlib"].rcParams, name, value)


def _pandas_leaves(tree: Any, path: str, found: dict[str, Any]) -> dict[str, Any]:
    for name, value in tree.items():
        if isinstance(value, dict):
            _pandas_leaves(value, path + name + ".", found)
        else:
            found[path + name] = value
    return found


def _pandas() -> State:
    return _pandas_leaves(sys.modules["pandas._config.config"]._global_config, "", {})


def _put_pandas(state: State) -> None:
    pandas = sys.modules["pandas"]
    now = _pandas()
    for name, value in state.items():
        if name in now and not _same(now[name], value):
            pandas.set_option(name, value)


def _numpy_settings() -> State:
    numpy = sys.modules["numpy"]
    return ({k: v for k, v in numpy.get_printoptions().items() if k != "override_repr"}, numpy.geterr())


def _put_numpy_settings(state: State) -> None:
    numpy = sys.modules["numpy"]
    numpy.set_printoptions(**state[0])
    numpy.seterr(**state[1])


def _decimal() -> State:
    context = sys.modules["decimal"].getcontext()
    traps = tuple(sorted(t.__name__ for t, on in context.traps.items() if on))
    return (
        context.prec,
        context.rounding,
        context.Emin,
        context.Emax,
        context.capitals,
        context.clamp,
        traps,
    )


def _put_decimal(state: State) -> None:
    decimal = sys.modules["decimal"]
    context = decimal.getcontext()
    context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps = state
    for trap in context.traps:
        context.traps[trap] = trap.__name__ in traps


def _locale() -> State:
    return sys.modules["locale"].setlocale(sys.modules["locale"].LC_ALL)


def _put_locale(state: State) -> None:
    sys.modules["locale"].setlocale(sys.modules["locale"].LC_ALL, state)


def _logging() -> State:
    logging = sys.modules["logging"]
    found = []
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger) and (
            logger.level
            or logger.handlers
            or logger.disabled
            or not logger.propagate
            or logger is logging.root
        ):
            handlers = tuple((id(h), h.level, id(h.formatter)) for h in logger.handlers)
            found.append((logger.name, logger.level, logger.disabled, logger.propagate, handlers))
    return (logging.root.manager.disable, tuple(sorted(found)))


def _sklearn() -> State:
    return dict(sys.modules["sklearn._config"].get_config())


def _put_sklearn(state: State) -> None:
    sys.modules["sklearn"].set_config(**state)


Put = Callable[[State], None]
RESOURCES: dict[str, tuple[str, Callable[[], State], Any]] = {
    "@rng:random": ("random", _python_random, _put_python_random),
    "@rng:numpy": ("numpy.random.mtrand", _numpy_random, _put_numpy_random),
    "@rng:torch": ("torch", _torch_random, _put_torch_random),
    "@env": ("os", lambda: dict(os.environ), environment.put),
    "@cwd": ("os", os.getcwd, os.chdir),
    "@sys.path": ("sys", lambda: list(sys.path), lambda state: sys.path.__setitem__(slice(None), state)),
    "@warnings": ("warnings", lambda: list(warnings.filters), _put_filters),
    "@rc:matplotlib": ("matplotlib", _rc, _put_rc),
    "@options:pandas": ("pandas", _pandas, _put_pandas),
    "@lib:numpy": ("numpy", _numpy_settings, _put_numpy_settings),
    "@lib:decimal": ("decimal", _decimal, _put_decimal),
    "@lib:locale": ("locale", _locale, _put_locale),
    "@lib:logging": ("logging", _logging, None),
    "@lib:sklearn": ("sklearn._config", _sklearn, _put_sklearn),
}
"""Resource → (module that must be loaded, how to read it, how to set it; None = it cannot be carried)."""


def _same(one: State, other: State) -> bool:
    try:
        return bool(one is other or one == other)
    except Exception:
        return False


def take() -> dict[str, State]:
    """Return the state of every resource whose library is loaded."""
    found = {}
    for name, (module, read, _) in RESOURCES.items():
        if sys.modules.get(module) is not None:
            with contextlib.suppress(Exception):
                found[name] = read()
    return found


def compare(before: dict[str, State], after: dict[str, State]) -> tuple[set[str], set[str]]:
    """Return the resources that changed, and those found the same.

    ``@lib:`` resources are only ever said to have changed: their state is seen in part.
    """
    both = before.keys() & after.keys()
    changed = {name for name in both if not _same(before[name], after[name])}
    return changed, {name for name in both - changed if not name.startswith("@lib:")}


def get(name: str) -> State:
    """Return the state of a resource as picklable data. Raises Unavailable."""
    if name not in RESOURCES:
        raise Unavailable(f"{name} is not a resource that can be carried")
    module, read, put = RESOURCES[name]
    if put is None:
        raise Unavailable(f"the state of {name} cannot be carried")
    if sys.modules.get(module) is None:
        raise Unavailable(f"{module} is not loaded")
    if name == "@env":
        # What is compared is the whole environment; what leaves the process is what the notebook changed in it.
        try:
            return environment.changes()
        except PermissionError as error:
            raise Unavailable(str(error)) from None
    return read()


def put(name: str, state: State) -> None:
    """Bring a resource into a state that `get` gave. Imports its library if need be. Raises Unavailable."""
    if name not in RESOURCES or RESOURCES[name][2] is None:
        raise Unavailable(f"{name} is not a resource that can be carried")
    module, _, setter = RESOURCES[name]
    if sys.modules.get(module) is None:
        __import__(module)
    setter(state)


class Seeds:
    """Tells which global generators the notebook has seeded; the others started from the system's entropy.

    A generator counts as seeded once its state cannot be reached by drawing from the state it started with.
    """

    def __init__(self) -> None:
        self.seeded: set[str] = set()
        self._last: dict[str, State] = {}
        self._looked = 0.0
        self.look()

    def look(self) -> set[str]:
        """Look at all generators again, and return the names of the seeded ones."""
        since, self._looked = time.perf_counter() - self._looked, time.perf_counter()
        twists = min(TWISTS, 10 + int(since / TWIST_SECONDS))
        for name, follow in (("@rng:random", _follows_python), ("@rng:numpy", _follows_numpy)):
            if name not in self.seeded and sys.modules.get(RESOURCES[name][0]) is not None:
                now = RESOURCES[name][1]()
                last = self._last.get(name) or (now if name == "@rng:random" else _numpy_start())
                if last is not None and follow(last, now, twists):
                    self._last[name] = now
                else:
                    self.seeded.add(name)
        torch = sys.modules.get("torch")
        if "@rng:torch" not in self.seeded and torch is not None and hasattr(torch, "initial_seed"):
            seed = torch.initial_seed()
            if seed < SMALL_SEED or seed == TORCH_SEED or self._last.setdefault("@rng:torch", seed) != seed:
                self.seeded.add("@rng:torch")
        return self.seeded

    def renew(self) -> None:
        """Start every unseeded generator anew; for a fork, which would else draw the numbers of its parent."""
        self.look()
        for name, module, seed in (
            ("@rng:random", "random", "seed"),
            ("@rng:numpy", "numpy.random", "seed"),
            ("@rng:torch", "torch", "seed"),
        ):
            found = sys.modules.get(module)
            if (
                found is not None
                and name not in self.seeded
                and sys.modules.get(RESOURCES[name][0]) is not None
            ):
                getattr(found, seed)()
                self._last[name] = found.initial_seed() if name == "@rng:torch" else RESOURCES[name][1]()


def _follows_python(last: State, now: State, twists: int) -> bool:
    """Whether drawing leads `random` from state `last` to `now`."""
    copy = sys.modules["random"].Random()
    copy.setstate(last)
    (*old, start), (*key, place) = last[1], now[1]
    if key == old:
        return bool(place >= start)
    return not _fresh(key, place) and _comes(
        key, start, lambda size: copy.getrandbits(8 * size).to_bytes(size, "little"), twists
    )


def _follows_numpy(last: State, now: State, twists: int) -> bool:
    """Whether drawing leads numpy's global generator from state `last` to `now`."""
    if last[0] != "MT19937" or now[0] != "MT19937":
        return False
    if last[1] == now[1]:
        return bool(now[2] >= last[2])
    key = array.array("I", now[1])
    if _fresh(key, now[2]):
        return False
    numpy = sys.modules["numpy"]
    copy = numpy.random.RandomState(0)
    copy.set_state((last[0], numpy.frombuffer(last[1], dtype=numpy.uint32), *last[2:]))
    return _comes(key, last[2], lambda size: bytes(copy.bytes(size)), twists)


def _fresh(key: Any, place: int) -> bool:
    """Whether a Mersenne twister was just seeded, by words or by a number; drawing gives such a state by rare chance."""
    by_number = (1812433253 * (key[0] ^ (key[0] >> 30)) + 1) & 0xFFFFFFFF
    return place == 624 and (key[0] == 0x80000000 or key[1] == by_number)


def _comes(key: Any, start: int, draw: Callable[[int], bytes], twists: int) -> bool:
    """Whether a Mersenne twister at place `start`, from which `draw` takes bytes, has `key` among its next states."""
    if start < 624:
        draw(4 * (624 - start))
    wanted = b"".join(_tempered(word).to_bytes(4, "little") for word in key[:8])
    while twists > 0:
        count = min(twists, 64)
        drawn = draw(TWIST * count)
        if any(drawn.startswith(wanted, at) for at in range(0, len(drawn), TWIST)):
            return True
        twists -= count
    return False


def _tempered(word: int) -> int:
    """Return what a Mersenne twister gives for a word of its state."""
    word ^= word >> 11
    word ^= (word << 7) & 0x9D2C5680
    word ^= (word << 15) & 0xEFC60000
    return word ^ (word >> 18)


def _numpy_start() -> State:
    """Return the state that numpy's global generator began with; None = it was seeded since, or this is not known."""
    numpy = sys.modules["numpy"]
    bits = _legacy_numpy()._bit_generator
    seeds = getattr(bits, "seed_seq", None) or getattr(bits, "_seed_seq", None)
    if seeds is None:
        return None
    key = seeds.generate_state(624, numpy.uint32)
    key[0] = 0x80000000
    return ("MT19937", key.tobytes(), 623, 0, 0.0)
