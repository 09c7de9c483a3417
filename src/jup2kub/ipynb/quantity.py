"""Durations and amounts as people write them."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|min|m|h|d|)", re.IGNORECASE)
_SECONDS = {"ms": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\d+)?)\s*([kKMGTP]?)(i?)[bB]?")
_POWER = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def seconds(text: str) -> float:
    """Return seconds from `45`, `45s`, `1.5h` or `2h 30m`; raises ValueError unless it is a positive duration."""
    parts = _DURATION.findall(text)
    rest = _DURATION.sub("", text).strip()
    units = [unit.lower() for _, unit in parts]
    sizes = [_SECONDS[unit] for unit in units]
    if not parts or rest or (len(parts) > 1 and "" in units) or sizes != sorted(set(sizes), reverse=True):
        raise ValueError("a duration such as `90s`, `45m` or `2h 30m` is wanted")
    total = sum(float(number) * size for (number, _), size in zip(parts, sizes, strict=True))
    if total <= 0:
        raise ValueError("a duration above zero is wanted")
    return total


def memory(text: str) -> int:
    """Return bytes from `8Gi`, `500M`, `2GB` or `1073741824`; raises ValueError unless it is a positive amount."""
    found = _MEMORY.fullmatch(text.strip())
    if not found or (found[3] and not found[2]):
        raise ValueError("an amount of memory such as `8Gi` or `500M` is wanted")
    unit = float(1024 if found[3] else 1000)
    amount = round(float(found[1]) * unit ** _POWER[found[2]])
    if amount <= 0:
        raise ValueError("an amount of memory above zero is wanted")
    return amount


def cores(text: str) -> float:
    """Return CPU cores from `4`, `0.5` or `500m` (thousandths); raises ValueError unless positive."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text.strip())
    value = float(found[1]) * (1e-3 if found[2] else 1.0) if found else 0.0
    if value <= 0:
        raise ValueError("a number of cores such as `4`, `0.5` or `500m` is wanted")
    return value


def whole(text: str, least: int = 0) -> int:
    """Return an integer not below `least`; raises ValueError otherwise."""
    if not re.fullmatch(r"\d+", text.strip()) or int(text) < least:
        raise ValueError(f"a whole number, {least} or more, is wanted")
    return int(text)
