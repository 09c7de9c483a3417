"""What never travels: files that hold credentials by their name, and texts that hold them by their look.

Findings name file, line and kind; never a value, nor a part of one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from jup2kub.errors import UsageError
from jup2kub.model.notebook import Notebook

FOLDERS = frozenset(
    (
        ".ssh",
        ".aws",
        ".gnupg",
        ".docker",
        ".kube",
        ".azure",
        ".gcloud",
        ".kaggle",
        ".oci",
        ".password-store",
        ".vault",
    )
)
"""A file below a folder of this name holds credentials."""
PLACES = (
    "*/.config/gcloud/*", "*/.config/gh/*", "*/.config/rclone/*", "*/.config/op/*", "*/.cargo/credentials*",
    "*/huggingface/token", "*/huggingface/stored_tokens", "*/.huggingface/token", "*/.streamlit/secrets.toml",
    "*/.terraform.d/credentials*", "*/.jupyter/*password*", "*/.jupyter/jupyter_*config.json", "/etc/shadow*",
    "/etc/gshadow*", "/run/secrets/*", "/var/run/secrets/*", "*/jupyter/runtime/*", "*/.ipython/profile_*/history*",
    "*/.ipython/profile_*/security/*", "/proc/*/environ", "*/.config/pip/*", "*/.pip/pip.conf", "*/keyrings/*",
)  # fmt: skip
NAMES = (
    ".netrc", "_netrc", ".git-credentials", ".pypirc", ".npmrc", ".yarnrc.yml", ".pgpass", ".my.cnf", ".mylogin.cnf",
    ".boto", ".s3cfg", ".dockercfg", ".databrickscfg", ".vault-token", ".htpasswd", ".*_history", ".env", ".env.*",
    ".envrc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "credentials", "credentials.json", "client_secret*.json", "service*account*.json", "kernel-*.json", "secrets.toml",
    "application_default_credentials.json", "kubeconfig", "*.key",
)  # fmt: skip
HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist")
NAME_OF_SECRET = re.compile(
    r"secret|token|passw|passphrase|credential|private|bearer|api_?key|access_?key|(^|_)(key|pwd|auth)$",
    re.IGNORECASE,
)
"""Environment variables that the kernel under observation does not get."""
URL_WITH_PASSWORD = re.compile(r"://[^/\s:@'\"]+:[^/\s@'\"]+@")
CONTENT = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("an AWS access key", re.compile(rb"(?<![A-Z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Z0-9])")),
    (
        "an AWS secret key",
        re.compile(rb"(?i)aws_?secret_?access_?key['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9/+=]{20,}"),
    ),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})")),
    ("a GitLab token", re.compile(rb"\bglpat-[\w-]{20,}")),
    ("a Slack token", re.compile(rb"\bxox[abeoprs]-[\w-]{10,}")),
    ("a Google API key", re.compile(rb"\bAIza[\w-]{35}")),
    ("an API key", re.compile(rb"\b(?:sk|pk|rk)[-_](?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}")),
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z0-9]{30,}")),
    ("a package index token", re.compile(rb"\b(?:pypi-AgE[\w-]{20,}|npm_[A-Za-z0-9]{36})")),
    ("a signed token", re.compile(rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")),
    ("a storage key", re.compile(rb"AccountKey=[A-Za-z0-9+/=]{40,}")),
    ("a password in a URL", re.compile(rb"://[^/\s:@'\"{}$]+:[^/\s@'\"{}$]{3,}@[\w.-]")),
)
ASSIGNED = re.compile(
    rb"(?i)(?<![a-z])(?:[a-z_]*(?:passw(?:or)?d|passphrase|secret|api_?key|access_?key|auth_?token|access_?token)"
    rb"[a-z_]*|token)['\"]?\s*\]?\s*(?:=|:|\bor\b|,)\s*[rbuf]?['\"]([^'\"\s]{8,})['\"]"
)
PLACEHOLDER = re.compile(
    rb"(?i)xxx|example|change_?me|your[_-]|<.*>|\*\*\*|\.\.\.|placeholder|dummy|\{|:(?:pass(?:word)?|secret)@"
)
LARGEST = 64 << 20
"""Bytes; of a larger file the first and last so many are looked at."""
WAY_OUT = (
    "take it out, put it into a Kubernetes Secret (`kubectl create secret generic NAME …`), name that in the cell "
    "(`#| secret: NAME`) and read it from the environment"
)


@dataclass(frozen=True)
class Finding:
    """One place that holds a secret."""

    place: str
    """File, or `cell 3`."""
    line: int
    """From 1; 0 = the file as a whole."""
    kind: str
    """In words."""

    def __str__(self) -> str:
        """Return the finding as users read it."""
        return f"{self.place}{f' line {self.line}' if self.line else ''} holds {self.kind}"


def denied(path: str) -> str:
    """Return why a file must not travel, by its absolute path alone; empty = it may."""
    path = os.path.normpath(path)
    name = os.path.basename(path)
    folder = next((part for part in path.split(os.sep)[:-1] if part in FOLDERS), "")
    if folder:
        return f"credentials: it lies in {folder}"
    if any(fnmatchcase(path, pattern) for pattern in PLACES):
        return "credentials: a place where programs keep them"
    if name not in HARMLESS and any(fnmatchcase(name, pattern) for pattern in NAMES):
        return f"credentials: it is called {name}"
    return ""


def known_values(environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the values of variables that look secret: none of them may be found anywhere.

    Not ordinary words and paths, which texts hold for other reasons.
    """
    return tuple(
        sorted(
            {
                value.encode("utf-8", "surrogateescape")
                for name, value in environ.items()
                if len(value) >= 8
                and is_secret(name, value)
                and not re.fullmatch(r"[A-Za-z_./:-]+", value)
                and not os.path.exists(value)
            }
        )
    )


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable looks secret, by its name or because its value is a URL with a password."""
    return bool(NAME_OF_SECRET.search(name) or URL_WITH_PASSWORD.search(value))


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what looks secret."""
    return {name: value for name, value in environ.items() if not is_secret(name, value)}


def in_text(data: bytes, place: str, values: Iterable[bytes] = ()) -> list[Finding]:
    """Return what looks like a secret in a text; ELF files and other binaries hold such bytes by chance."""
    if data[:4] == b"\x7fELF":
        return []
    found: dict[tuple[int, str], Finding] = {}

    def note(at: int, kind: str) -> None:
        line = data.count(b"\n", 0, at) + 1
        found.setdefault((line, ""), Finding(place, line, kind))

    for kind, pattern in CONTENT:
        for match in pattern.finditer(data):
            if not PLACEHOLDER.search(match[0]):
                note(match.start(), kind)
    for match in ASSIGNED.finditer(data):
        if looks_made(match[1]):
            note(match.start(), "a value that is called secret")
    for value in values:
        at = data.find(value)
        if at >= 0:
            note(at, "the value of a secret environment variable")
    return sorted(found.values(), key=lambda f: f.line)


def looks_made(value: bytes) -> bool:
    """Whether a text looks like a password or a key, and not like a word or a placeholder."""
    return bool(
        not PLACEHOLDER.search(value)
        and re.search(rb"\d", value)
        and re.search(rb"[A-Za-z]", value)
        and not re.fullmatch(rb"[\w.-]*[/.][\w./-]*\.[a-z]{2,4}", value)
    )


def in_file(path: Path, place: str, values: Iterable[bytes] = ()) -> list[Finding]:
    """Return what is wrong with letting a file travel: by its name, or by what is in it."""
    reason = denied(str(path))
    if reason:
        return [Finding(place, 0, reason)]
    with path.open("rb") as file:
        data = file.read(LARGEST)
        if len(data) == LARGEST:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(LARGEST, size - LARGEST))
            data += file.read(LARGEST)
    return in_text(data, place, values)


def in_notebook(notebook: Notebook, values: Iterable[bytes] = ()) -> list[Finding]:
    """Return the secrets that stand in cells."""
    values = tuple(values)
    found = []
    for cell in notebook.cells:
        found += in_text(cell.source.encode("utf-8", "surrogatepass"), f"cell {cell.index}", values)
    return found


def refuse(findings: Iterable[Finding]) -> None:
    """Raise UsageError J2K680 if there are any."""
    found = list(findings)
    if found:
        more = f" (and {len(found) - 1} more: {'; '.join(map(str, found[1:6]))})" if len(found) > 1 else ""
        raise UsageError("J2K680", f"{found[0]}: it must not travel{more}", WAY_OUT)
