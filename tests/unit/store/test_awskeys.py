"""Requests to S3 are signed as Amazon's own examples are, and keys come from where a pod has them."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from jup2kub.errors import StoreProblem
from jup2kub.store.awskeys import EARLY, Keys, Source, signed

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = 1369353600.0
"""2013-05-24T00:00:00Z, the moment of the examples in the description of signature version 4."""
HOST = {"host": "examplebucket.s3.amazonaws.com"}
EMPTY = hashlib.sha256(b"").hexdigest()


def signature(method: str, path: str, query: dict[str, str], headers: dict[str, str], payload: str) -> str:
    _, made = signed(EXAMPLE, "us-east-1", method, path, query, {**HOST, **headers}, payload, AT)
    return made["authorization"].rpartition("=")[2]


def test_the_published_examples_come_out() -> None:
    assert (
        signature("GET", "/test.txt", {}, {"range": "bytes=0-9"}, EMPTY)
        == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    put = {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    assert (
        signature("PUT", "/test$file.text", {}, put, hashlib.sha256(b"Welcome to Amazon S3.").hexdigest())
        == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )
    assert (
        signature("GET", "/", {"max-keys": "2", "prefix": "J"}, {}, EMPTY)
        == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_a_session_token_is_signed_too() -> None:
    _, made = signed(Keys("a", "b", "tok"), "r", "GET", "/", {}, HOST, EMPTY, AT)
    assert made["x-amz-security-token"] == "tok"
    assert "x-amz-security-token" in made["authorization"]


def test_keys_of_a_secret_are_taken_as_they_are() -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert Source(given, "r")() == Keys("a", "b", "c")


def test_without_keys_the_way_out_is_told() -> None:
    with pytest.raises(StoreProblem) as caught:
        Source({"HOME": "/root", "AWS_PROFILE": "me"}, "r")()
    assert caught.value.code == "J2K530"
    assert "secret=NAME" in str(caught.value.hint)


def test_the_role_of_a_service_account_is_assumed_and_again_before_it_ends(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("jwt\n")
    given = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    asked: list[urllib.request.Request] = []

    def fetch(request: urllib.request.Request) -> bytes:
        asked.append(request)
        return (
            b'<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            b"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>a</AccessKeyId>"
            b"<SecretAccessKey>b</SecretAccessKey><SessionToken>c</SessionToken>"
            b"<Expiration>2013-05-24T01:00:00Z</Expiration></Credentials>"
            b"</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )

    now = [AT]
    source = Source(given, "eu-west-1", clock=lambda: now[0], fetch=fetch)
    assert source() == source() == Keys("a", "b", "c", AT + 3600)
    [request] = asked
    assert request.full_url == "https://sts.eu-west-1.amazonaws.com"
    assert isinstance(request.data, bytes)
    assert dict(urllib.parse.parse_qsl(request.data.decode()))["WebIdentityToken"] == "jwt"
    now[0] += 3600 - EARLY + 1
    source()
    assert len(asked) == 2


def test_the_identity_of_a_pod_gives_keys(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("jwt")
    given = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }

    def fetch(request: urllib.request.Request) -> bytes:
        assert request.get_header("Authorization") == "jwt"
        words = {
            "AccessKeyId": "a",
            "SecretAccessKey": "b",
            "Token": "c",
            "Expiration": "2013-05-24T01:00:00Z",
        }
        return json.dumps(words).encode()

    assert Source(given, "r", clock=lambda: AT, fetch=fetch)() == Keys("a", "b", "c", AT + 3600)


def test_an_identity_service_that_fails_is_told() -> None:
    def fetch(request: urllib.request.Request) -> bytes:
        raise OSError("unreachable")

    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}
    with pytest.raises(StoreProblem, match="unreachable"):
        Source(given, "r", fetch=fetch)()
