"""The part of a bucket below one prefix: objects by name, and the one exclusive primitive, a conditional write.

`PUT` with `If-None-Match: *` (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html) makes an
object if its name is free: of any number of writers one is answered 200, the others 412. Standard library only, so that
any image can serve a run; a server that lacks the primitive, or heeds it not, is refused by `probe`.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Callable, List, NamedTuple, NoReturn, Optional, Union
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from jup2kub.errors import StoreProblem

from .awskeys import Keys, signed

LARGEST = 5 << 30
"""Bytes that one PUT may carry (S3's own limit)."""
PATIENCE = 60.0
"""Seconds for which a request without an answer is sent again."""
TIMEOUT = 30.0
AGAIN = frozenset({409, 429, 500, 502, 503, 504})
"""409: S3 could not tell in time which of two conditional writes was first."""
Body = Union[bytes, Path]


class Reply(NamedTuple):
    """What the bucket answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def age(self) -> float:
        """Seconds since the object was written, by the bucket's own clock; infinite where it does not say."""
        try:
            now = parsedate_to_datetime(self.headers["date"])
            return (now - parsedate_to_datetime(self.headers["last-modified"])).total_seconds()
        except (KeyError, TypeError, ValueError):
            return float("inf")


class Bucket:
    """See the module. Safe for threads. Raises StoreProblem (J2K531 no answer, J2K532 refused)."""

    def __init__(
        self,
        url: str,
        keys: Callable[[], Keys],
        *,
        region: str = "us-east-1",
        endpoint: str = "",
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]+[a-z0-9])(/.*)?", url)
        if found is None:
            raise StoreProblem("J2K513", f"{url!r} names no bucket", "write s3://BUCKET/PREFIX")
        bucket, prefix = found[1], (found[2] or "").strip("/")
        self.url = url
        self._keys, self._region, self._patience, self._clock = keys, region, patience, clock
        # A certificate for *.s3.amazonaws.com does not hold for a bucket with dots; others know paths best.
        hosted = not endpoint and "." not in bucket
        default = f"https://{bucket + '.' if hosted else ''}s3.{region}.amazonaws.com"
        parts = urlsplit(endpoint or default)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StoreProblem("J2K513", f"{endpoint!r} is no endpoint", "write https://HOST[:PORT]")
        self._secure, self._host, self._netloc = parts.scheme == "https", parts.hostname, parts.netloc
        self._port = parts.port or (443 if self._secure else 80)
        self._root = parts.path.rstrip("/") + ("/" if hosted else f"/{bucket}/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    # one request

    def _send(
        self,
        method: str,
        name: Optional[str],
        *,
        body: Body = b"",
        query: Optional[Mapping[str, str]] = None,
        headers: Optional[Mapping[str, str]] = None,
        sha256: str = "",
        into: Optional[Path] = None,
    ) -> Reply:
        """Send until it is answered. `name` None = the bucket itself. What comes `into` a file is not in the reply."""
        path = self._root + ("" if name is None else self._prefix + name)
        # S3 refuses a body that is not what this says: an upload that was torn on its way makes no object.
        payload = sha256 or (hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else "")
        deadline, pause = time.monotonic() + self._patience, 0.05
        while True:
            words: object
            try:
                reply = self._once(method, path, query or {}, headers or {}, body, payload, into)
                late = reply.status == 400 and b"RequestTimeout" in reply.body
                if reply.status not in AGAIN and not late:
                    return reply
                words = f"{reply.status} {reply.body[:200].decode(errors='replace')}"
            except (OSError, http.client.HTTPException) as error:
                words = repr(error)
            if time.monotonic() + pause > deadline:
                raise StoreProblem(
                    "J2K531",
                    f"{self.url} does not answer: {words}",
                    "see the endpoint and the network between; then run again: it continues",
                )
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 5.0)

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Body,
        payload: str,
        into: Optional[Path],
    ) -> Reply:
        target, all_ = signed(
            self._keys(),
            self._region,
            method,
            path,
            query,
            {**headers, "host": self._netloc},
            payload,
            self._clock(),
        )
        length = len(body) if isinstance(body, bytes) else body.stat().st_size
        if method == "PUT":
            all_["content-length"] = str(length)
        with self._lock:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            line = self._idle.pop() if self._idle else kind(self._host, self._port, timeout=TIMEOUT)
        try:
            if isinstance(body, bytes):
                line.request(method, target, body=body or None, headers=all_)
            else:
                with open(body, "rb") as file:
                    line.request(method, target, body=file, headers=all_)
            answer = line.getresponse()
            if into is not None and answer.status == 200:
                data, size = b"", 0
                with open(into, "wb") as made:
                    for block in iter(lambda: answer.read(1 << 20), b""):
                        size += made.write(block)
                if size != int(answer.headers.get("content-length", size)):
                    raise OSError(f"the answer ended after {size} bytes")
            else:
                data = answer.read()
        except BaseException:
            line.close()
            # What kept one waiting too long has most likely closed the other idle ones, too.
            self.close()
            raise
        if answer.will_close:
            line.close()
        else:
            with self._lock:
                self._idle.append(line)
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)

    def _refused(self, what: str, reply: Reply) -> NoReturn:
        code = re.search(rb"<Code>([^<]*)</Code>", reply.body)
        words = code[1].decode(errors="replace") if code else f"status {reply.status}"
        raise StoreProblem(
            "J2K532",
            f"{self.url} refused to {what}: {words}",
            "the keys must allow s3:GetObject, PutObject, DeleteObject and ListBucket below the prefix",
        )

    # objects

    def get(self, name: str) -> Optional[bytes]:
        """Return the object's content; None = there is none."""
        reply = self._send("GET", name)
        if reply.status == 404 and b"NoSuchBucket" not in reply.body:
            return None
        return reply.body if reply.status == 200 else self._refused(f"read {name}", reply)

    def fetch(self, name: str, path: Path) -> bool:
        """Write the object's content into a file; return False if there is none."""
        reply = self._send("GET", name, into=path)
        if reply.status == 404:
            return False
        return True if reply.status == 200 else self._refused(f"read {name}", reply)

    def head(self, name: str) -> Optional[Reply]:
        """Return the object's size (`content-length`), age and other headers; None = there is none."""
        reply = self._send("HEAD", name)
        if reply.status == 404:
            return None
        return reply if reply.status == 200 else self._refused(f"look at {name}", reply)

    def put(
        self, name: str, body: Body, *, sha256: str = "", notes: Optional[Mapping[str, str]] = None
    ) -> None:
        """Make or replace the object, whole. A file needs its `sha256`."""
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        if size > LARGEST:
            raise StoreProblem(
                "J2K533",
                f"a value of {size >> 30} GiB is larger than S3 takes at once ({LARGEST >> 30} GiB)",
                "keep it in a claim (`#| volume`), or use --storage claim:NAME",
            )
        headers = {f"x-amz-meta-{k}": v for k, v in (notes or {}).items()}
        reply = self._send("PUT", name, body=body, headers=headers, sha256=sha256)
        if reply.status != 200:
            self._refused(f"write {name}", reply)

    def put_once(self, name: str, body: bytes) -> Optional[bytes]:
        """Make the object if its name is free. Return None if `body` is what holds now, else what does.

        Whoever must know whether it was they who wrote it puts something of their own into `body`: the answer to a
        write that succeeded may be lost, and then the second try finds the first one's object.
        """
        for _ in range(3):
            reply = self._send("PUT", name, body=body, headers={"if-none-match": "*"})
            if reply.status == 200:
                return None
            if reply.status == 501:
                raise _no_primitive(self, "it answers 501 Not Implemented")
            if reply.status != 412:
                self._refused(f"write {name} exclusively", reply)
            found = self.get(name)
            if found is not None:
                return None if found == body else found
        raise StoreProblem(
            "J2K532", f"{self.url}: {name} is there and not there", "run again; see who else writes there"
        )

    def delete(self, name: str) -> None:
        """Remove the object if it is there."""
        reply = self._send("DELETE", name)
        if reply.status not in (200, 204, 404):
            self._refused(f"remove {name}", reply)

    def names(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) of every object whose name begins with `folder`, in order of their names."""
        query = {"list-type": "2", "prefix": self._prefix + folder, "encoding-type": "url"}
        while True:
            reply = self._send("GET", None, query=query)
            if reply.status != 200:
                self._refused("list objects", reply)
            tree = ElementTree.fromstring(reply.body)
            space = tree.tag.rpartition("}")[0] + "}" if "}" in tree.tag else ""
            for entry in tree.iter(f"{space}Contents"):
                name = unquote(entry.findtext(f"{space}Key") or "")
                yield name[len(self._prefix) :], int(entry.findtext(f"{space}Size") or 0)
            more = tree.findtext(f"{space}NextContinuationToken")
            if not more:
                return
            query["continuation-token"] = more

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()


def probe(bucket: Bucket) -> None:
    """Refuse (StoreProblem J2K501) a bucket in which a commit would not be exclusive: of two conditional writes of one
    name exactly one must win, one after the other and at the same moment."""
    name = f"probe/{secrets.token_hex(8)}"
    for which in ("after", "at once"):
        place, texts = f"{name}-{which[:2]}", (b"first", b"second")
        if which == "after":
            held = [bucket.put_once(place, text) for text in texts]
        else:
            with ThreadPoolExecutor(2) as pool:
                held = list(pool.map(bucket.put_once, [place] * 2, texts))
        stays = bucket.get(place)
        winners = [text for text, other in zip(texts, held) if other is None]
        bucket.delete(place)
        if len(winners) != 1 or winners[0] != stays:
            raise _no_primitive(bucket, f"{len(winners)} of 2 writers of one name won")


def _no_primitive(bucket: Bucket, words: str) -> StoreProblem:
    return StoreProblem(
        "J2K501",
        f"{bucket.url} has no conditional writes ({words}); two commits could not be kept apart",
        "use a server that heeds `If-None-Match: *` (S3 itself does), or --storage claim:NAME",
    )
