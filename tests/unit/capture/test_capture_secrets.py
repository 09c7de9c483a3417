from __future__ import annotations

from pathlib import Path

import pytest
from capture_world import notebook

from jup2kub.capture import secrets
from jup2kub.errors import UsageError

# Put together here, so that no scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7QWERTYU"
GITHUB = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    "path",
    [
        "/home/u/.aws/credentials", "/home/u/.netrc", "/srv/p/.env", "/srv/p/.env.production", "/home/u/.ssh/id_rsa",
        "/home/u/.kube/config", "/home/u/.config/gcloud/x.json", "/run/secrets/token", "/home/u/.pypirc",
        "/tmp/kernel-1234.json", "/home/u/.cache/huggingface/token", "/etc/shadow", "/home/u/server.key",
        "/home/u/.docker/config.json", "/srv/p/service-account.json", "/home/u/.bash_history",
    ],
)  # fmt: skip
def test_denied_by_place_or_name(path: str) -> None:
    assert secrets.denied(path)


@pytest.mark.parametrize(
    "path",
    ["/srv/p/data.csv", "/srv/p/.env.example", "/srv/p/keys.py", "/usr/lib/ssl/cert.pem", "/srv/p/tokens.txt", "/srv/p/environment.yml"],
)  # fmt: skip
def test_ordinary_files_may_travel(path: str) -> None:
    assert secrets.denied(path) == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"key = '{AWS}'", "AWS"),
        ("aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYq0TqWxK9", "AWS"),
        (f"client('{GITHUB}')", "GitHub"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "private key"),
        ("password = '" + "hunter2hunter2'", "called secret"),
        ("os.environ['API_KEY'] = '" + "zx81-9f8e7d6c'", "called secret"),
        ("{'token': '" + "abc123def456'}", "called secret"),
        ("postgresql://me:" + "s3cretpw@db.host/x", "URL"),
        ("openai.api_key = 'sk-" + "proj-Abcd1234Abcd1234Abcd1234'", "API key"),
    ],
)
def test_found_in_text(text: str, kind: str) -> None:
    found = secrets.in_text(f"x = 1\n{text}\n".encode(), "cell 3")
    assert [f.line for f in found] == [2]
    assert kind in str(found[0])
    assert str(found[0]).startswith("cell 3 line 2 holds ")


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass.getpass()",
        "token = os.environ['TOKEN']",
        "password = 'changeme1'",
        "api_key = 'YOUR_API_KEY_1'",
        "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased-2')",
        "secret_santa = 'Alice'",
        "url = 'https://user:{password}@host/x'",
        "for task-1234567890abcdefghij in x",
        "sklearn = 'risk-weighted-average-of-many'",
        "pk_customer_account_number_id = 2",
        "see https://user:password@host/ for the form",
    ],
)
def test_ordinary_text_is_not_taken_for_a_secret(text: str) -> None:
    assert secrets.in_text(text.encode(), "cell 1") == []


def test_a_value_of_the_environment_is_found_wherever_it_is() -> None:
    values = secrets.known_values(
        {"DB_PASSWORD": "correct horse", "HOME": "/home/correct", "MY_TOKEN": "short"}
    )
    assert values == (b"correct horse",)
    assert secrets.in_text(b"x = 'correct horse'", "cell 0", values)


def test_binaries_hold_such_bytes_by_chance(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(b"\x7fELF" + AWS.encode())
    assert secrets.in_file(path, "lib.so") == []


def test_the_refusal_names_place_and_way_out_but_not_the_value() -> None:
    found = secrets.in_notebook(notebook("x = 1", f"import boto3\nkey = '{AWS}'"))
    with pytest.raises(UsageError, match="J2K680") as refused:
        secrets.refuse(found)
    words = f"{refused.value} {refused.value.hint}"
    assert "cell 1 line 2" in words
    assert "Kubernetes Secret" in words
    assert AWS not in words


def test_the_environment_is_scrubbed() -> None:
    given = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GH_TOKEN": "x",
        "HTTPS_PROXY": "http://u:p@h:1",
        "LANG": "C",
    }
    assert secrets.scrubbed(given) == {"PATH": "/bin", "LANG": "C"}
