"""Keys for S3, from what the pod was given: a Secret's environment, or the service account's identity. Never from a file
that travels with a notebook, so `~/.aws` is not read.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html (signature version 4),
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html (roles of service accounts),
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html (EKS pod identity).
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from jup2kub.errors import StoreProblem

EARLY = 300.0
"""Seconds before their end at which keys are fetched anew."""
SECONDS = 10.0
"""How long an answer about keys may take."""


@dataclass(frozen=True)
class Keys:
    """Whose requests they are."""

    name: str
    """The access key's id."""
    secret: str
    token: str = ""
    """Session token; empty = the keys are lasting ones."""
    until: Optional[float] = None
    """Seconds since the epoch; None = they do not end."""


class Source:
    """Keys as an environment says, fetched anew before they end. Safe for threads (two may fetch; both are right)."""

    def __init__(
        self,
        environ: Mapping[str, str],
        region: str,
        *,
        clock: Callable[[], float] = time.time,
        fetch: Optional[Callable[[urllib.request.Request], bytes]] = None,
    ) -> None:
        self._environ, self._region, self._clock = environ, region, clock
        self._fetch = fetch or _fetched
        self._keys: Optional[Keys] = None

    def __call__(self) -> Keys:
        """Return keys that hold for some minutes. Raises StoreProblem (J2K530)."""
        if self._keys is None or (self._keys.until or float("inf")) < self._clock() + EARLY:
            try:
                self._keys = self._find()
            except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
                raise StoreProblem(
                    "J2K530",
                    f"no keys for S3: {error!r}",
                    "see whether the service account may take its role",
                ) from error
        return self._keys

    def _find(self) -> Keys:
        given = self._environ
        if given.get("AWS_ACCESS_KEY_ID") and given.get("AWS_SECRET_ACCESS_KEY"):
            return Keys(
                given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], given.get("AWS_SESSION_TOKEN", "")
            )
        if given.get("AWS_ROLE_ARN") and given.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            return self._of_role()
        if given.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            return self._of_pod()
        raise StoreProblem(
            "J2K530",
            "the run server has no keys for S3",
            "name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`--storage s3://…,secret=NAME`), or a "
            "service account that has a role (--service-account NAME)",
        )

    def _of_role(self) -> Keys:
        words = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._environ["AWS_ROLE_ARN"],
            "RoleSessionName": self._environ.get("AWS_ROLE_SESSION_NAME", "jup2kub"),
            "WebIdentityToken": Path(self._environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text().strip(),
        }
        at = self._environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{self._region}.amazonaws.com"
        answer = self._fetch(urllib.request.Request(at, urlencode(words).encode()))
        found = {_local(e.tag): e.text or "" for e in ElementTree.fromstring(answer).iter()}
        return Keys(
            found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], _time(found["Expiration"])
        )

    def _of_pod(self) -> Keys:
        request = urllib.request.Request(self._environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        if self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            # Read each time: the kubelet changes it.
            token = Path(self._environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text().strip()
            request.add_header("Authorization", token)
        found: Any = json.loads(self._fetch(request))
        return Keys(
            found["AccessKeyId"], found["SecretAccessKey"], found["Token"], _time(found["Expiration"])
        )


def _fetched(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        found: bytes = answer.read()
        return found


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _time(text: str) -> float:
    return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))


def signed(
    keys: Keys,
    region: str,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    payload: str,
    now: float,
) -> tuple[str, dict[str, str]]:
    """Return (path with query, headers) of a request to S3, signed (signature version 4).

    `path` begins with a slash, not quoted; `headers` hold `host`; `payload` is the body's sha256 in hexadecimal digits.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    all_ = {name.lower(): value.strip() for name, value in headers.items()}
    all_.update({"x-amz-date": stamp, "x-amz-content-sha256": payload})
    if keys.token:
        all_["x-amz-security-token"] = keys.token
    names = ";".join(sorted(all_))
    where = quote(path, safe="/-_.~")
    asked = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items()))
    lines = [method, where, asked, *(f"{k}:{all_[k]}" for k in sorted(all_)), "", names, payload]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = b"AWS4" + keys.secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    mac = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    all_["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.name}/{scope}, SignedHeaders={names}, Signature={mac}"
    )
    return where + (f"?{asked}" if asked else ""), all_
