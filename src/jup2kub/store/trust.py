"""Signatures: nothing in the store is believed, let alone unpickled, before its signature is checked.

A sealed record is two lines: the record as JSON, and an HMAC-SHA256 over the name it was written under and that very
line. So a record that was altered, cut short, made by another store or moved to another place is told from a true one
before anything of it is parsed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from jup2kub.errors import StoreProblem

from . import Record

KEY_BYTES = 32


class NotTrustedError(Exception):
    """Why a record is ignored; the store's own matter, never shown as an error."""


@dataclass(frozen=True)
class Key:
    """The store's own secret."""

    secret: bytes

    def mac(self, name: str, line: bytes) -> str:
        """Return the signature (64 hexadecimal digits) of a line written under a name."""
        # The length keeps (name, line) pairs apart that would join to the same bytes.
        prefix = f"{len(name.encode())}:{name}:".encode()
        return hmac.new(self.secret, prefix + line, hashlib.sha256).hexdigest()

    def seal(self, name: str, record: Record) -> bytes:
        """Return the signed text of the record. Raises StoreProblem (J2K513) if it is not JSON."""
        try:
            # ASCII escapes keep lone surrogates, which a cell may well print, and keep the text on one line.
            line = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        except (TypeError, ValueError) as e:
            raise StoreProblem("J2K513", f"the record {name} is not JSON: {e}") from e
        return line + b"\n" + self.mac(name, line).encode() + b"\n"

    def unseal(self, name: str, text: bytes) -> dict[str, Any]:
        """Return the record that was sealed under the name. Raises NotTrustedError with the reason."""
        line, _, rest = text.partition(b"\n")
        if len(rest) != 65 or rest[64:] != b"\n":
            raise NotTrustedError("cut short")
        if not hmac.compare_digest(rest[:64], self.mac(name, line).encode()):
            raise NotTrustedError("its signature is not this store's")
        try:
            record = json.loads(line)
        except ValueError as e:
            raise NotTrustedError(f"not JSON: {e}") from e
        if not isinstance(record, dict):
            raise NotTrustedError("not a JSON object")
        return record
