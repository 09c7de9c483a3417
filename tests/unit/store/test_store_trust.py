"""Signatures, and where they do not hold."""

from __future__ import annotations

import pytest

from jup2kub.errors import StoreProblem
from jup2kub.store.trust import Key, NotTrustedError

KEY = Key(b"k" * 32)


def test_a_sealed_record_comes_back() -> None:
    record = {"status": "ok", "text": "a\nb\u2028é", "n": [1, 2.5, None]}
    assert KEY.unseal("run/slot", KEY.seal("run/slot", record)) == record


def test_a_record_holds_only_in_its_own_place_and_store() -> None:
    sealed = KEY.seal("run/slot", {"status": "ok"})
    with pytest.raises(NotTrustedError, match="signature"):
        KEY.unseal("run/other", sealed)
    with pytest.raises(NotTrustedError, match="signature"):
        Key(b"x" * 32).unseal("run/slot", sealed)


def test_a_name_cannot_borrow_from_the_text() -> None:
    line = b'{"a":1}'
    assert KEY.mac("n", b"1" + line) != KEY.mac("n1", line)


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"{}", b"{}\n", b"{}\n" + b"0" * 64, b"{}\n" + b"0" * 64 + b"\n"]
)
def test_unsigned_text_is_not_believed(text: bytes) -> None:
    with pytest.raises(NotTrustedError):
        KEY.unseal("n", text)


@pytest.mark.parametrize("line", [b"[1]", b"null", b"no json", b"\xff"])
def test_signed_text_that_is_no_record_is_not_believed(line: bytes) -> None:
    with pytest.raises(NotTrustedError, match="not"):
        KEY.unseal("n", line + b"\n" + KEY.mac("n", line).encode() + b"\n")


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(StoreProblem) as caught:
        KEY.seal("n", {"a": {1, 2}})
    assert caught.value.code == "J2K513"
