"""A Hugging Face hub on loopback: repositories of models and datasets, as `huggingface_hub` asks for them.

    with HubServer([Repo("dataset", "microsoft/ms_marco", ms_marco_files(...))], faults=[Fault.E503]) as hub:
        use_hub(hub, monkeypatch, tmp_path)  # or the fixture `start_hub`, which does both
        ...

It answers what is asked of the real one here: the list of a repository's files at a revision, HEAD and GET of a file,
and the storage that large files (those of LFS) are redirected to, on another host name, where no token may be sent. Errors carry
the hub's own codes. A repository may be private or gated: `TOKEN` may read the first, `TOKEN_WITH_ACCESS` both.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.servers.http import HttpServer, Request, Response

TOKEN = "hf_SecretOfTheTests0123456789"
TOKEN_WITH_ACCESS = "hf_SecretOfTheTestsWithAccess42"

_PASSAGES = pa.struct(
    [
        ("is_selected", pa.list_(pa.int32())),
        ("passage_text", pa.list_(pa.string())),
        ("url", pa.list_(pa.string())),
    ]
)
MS_MARCO = pa.schema(
    [
        ("answers", pa.list_(pa.string())),
        ("passages", _PASSAGES),
        ("query", pa.string()),
        ("query_id", pa.int32()),
        ("query_type", pa.string()),
        ("wellFormedAnswers", pa.list_(pa.string())),
    ]
)
WIKIPEDIA = pa.schema([(name, pa.string()) for name in ("id", "url", "title", "text")])


@dataclass
class Repo:
    """A repository of one commit, `commit`, which `revisions` name."""

    kind: str
    name: str
    files: Mapping[str, bytes]
    licence: str | list[str] | None = None
    private: bool = False
    gated: bool = False
    revisions: Sequence[str] = ("main", "v1.0", "refs/convert/parquet")
    # What the list of files says instead of the truth, by path.
    listed_sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """A hash of the contents, as git's is."""
        return hashlib.sha1(b"".join(name.encode() + body for name, body in sorted(self.files.items()))).hexdigest()


class HubServer(HttpServer):
    """Serves the repositories.

    `echo`: whether refusals carry the token that was sent, as a careless server's might. `waits`: see `use_hub`.
    `credentials`: `user:password` that a mirror asks for in each request, in the place of the hub's token.
    """

    def __init__(
        self, repos: Iterable[Repo], *, echo: bool = False, credentials: str | None = None, **options: Any
    ) -> None:
        super().__init__(self._serve, **options)
        self.basic = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else None
        self.repos = {(repo.kind, repo.name): repo for repo in repos}
        self.echo = echo
        self.waits: list[float] = []

    def asked_for(self, name: str) -> list[str]:
        """The methods of the requests for the file `name`, by its path's end, in order."""
        return [seen.method for seen in self.log if seen.path.partition("?")[0].endswith(name)]

    def _serve(self, request: Request) -> Response | None:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[0] == "storage":
            return self._storage(request, parts[1])
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.basic:
            if token != self.basic:
                return self._refuse(401, None, "The mirror asks for a user and a password", token)
            token = ""
        if token not in ("", TOKEN, TOKEN_WITH_ACCESS):
            return self._refuse(401, None, "Invalid credentials in Authorization header", token)
        if parts[0] == "api":
            kind, name, rest = parts[1].removesuffix("s"), "/".join(parts[2:4]), parts[4:]
        else:
            kind = "dataset" if parts[0] == "datasets" else "model"
            parts = parts[1:] if kind == "dataset" else parts
            name, rest = "/".join(parts[:2]), parts[2:]
        repo = self.repos.get((kind, name))
        if repo is None or (repo.private and not token):
            return self._refuse(404 if token else 401, "RepoNotFound", "Repository not found", token)
        if rest[1] not in (*repo.revisions, repo.commit):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}", token)
        if rest[0] == "revision":
            return self._info(repo, blobs="blobs" in request.query)
        return self._resolve(repo, "/".join(rest[2:]), token)

    def _info(self, repo: Repo, *, blobs: bool) -> Response:
        files = [_sibling(repo, name) if blobs else {"rfilename": name} for name in repo.files]
        card = {} if repo.licence is None else {"cardData": {"license": repo.licence}}
        info = {"id": repo.name, "sha": repo.commit, "private": repo.private, "gated": repo.gated, "siblings": files}
        return Response(json.dumps(info | card).encode(), headers={"Content-Type": "application/json"})

    def _resolve(self, repo: Repo, path: str, token: str) -> Response:
        if repo.gated and token != TOKEN_WITH_ACCESS:
            return self._refuse(403 if token else 401, "GatedRepo", f"Access to {repo.name} is restricted.", token)
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound", "Entry not found", token)
        body = repo.files[path]
        headers = {"X-Repo-Commit": repo.commit}
        if not _is_large(path):
            return Response(body, headers=headers | {"ETag": f'"{_git_sha1(body)}"'})
        sha256 = hashlib.sha256(body).hexdigest()
        # The same server by another name: to the library another host, which gets no token.
        location = f"{self.url.replace('127.0.0.1', 'localhost')}/storage/{sha256}?signature=s"
        return Response(
            b"",
            302,
            headers
            | {"Location": location, "X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(body)), "ETag": ""},
        )

    def _storage(self, request: Request, sha256: str) -> Response | None:
        assert "Authorization" not in request.headers, "the token was sent to the storage"
        bodies = (body for repo in self.repos.values() for body in repo.files.values())
        return next((Response(body) for body in bodies if hashlib.sha256(body).hexdigest() == sha256), None)

    def _refuse(self, status: int, code: str | None, message: str, token: str) -> Response:
        if self.echo:
            message += f" (token: {token})"
        headers = {"X-Error-Code": code or "", "X-Error-Message": message, "Content-Type": "application/json"}
        return Response(json.dumps({"error": message}).encode(), status, headers)


def use_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process use `hub` with an empty cache under `folder` and no token; its waits are noted, not made."""
    import datasets
    from huggingface_hub import constants, file_download, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # No `.env` of the user's is above it.
    monkeypatch.chdir(folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-login"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.3)
    monkeypatch.setattr("ragcun.fetch.hub.client._TIMEOUT", 0.3)
    monkeypatch.setattr("time.sleep", hub.waits.append)
    # What another hub's credentials left.
    set_client_factory(default_client_factory)


def hub_environment(hub: HubServer, folder: Path) -> dict[str, str]:
    """The variables that make another process use `hub`, with an empty cache under `folder`."""
    root = str(Path(__file__).parents[2])
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0", "PYTHONPATH": root}


def ms_marco_row(number: int, selected: Sequence[int] = (0,), count: int = 3, **other: Any) -> dict[str, Any]:
    """A row with a text of its own for each of its `count` passages; `other` replaces columns."""
    return {
        "answers": ["an answer"],
        "passages": {
            "is_selected": [int(i in selected) for i in range(count)],
            "passage_text": [f"passage {i} of query {number}, on the subject {number % 7}" for i in range(count)],
            "url": [f"https://example.org/{number}/{i}" for i in range(count)],
        },
        "query": f"what is number {number}",
        "query_id": number,
        "query_type": "DESCRIPTION",
        "wellFormedAnswers": [],
        **other,
    }


def ms_marco_files(
    train: Sequence[Any], validation: Sequence[Any], *, shards: int = 2, schema: pa.Schema = MS_MARCO
) -> dict[str, bytes]:
    """The files of configuration v2.1, the train rows in that many, beside those of v1.1, which nobody wants."""
    files = _shards("v2.1/train", train, schema, shards) | _shards("v2.1/validation", validation, schema, 1)
    return files | {"v1.1/train-00000-of-00001.parquet": b"not asked for", "README.md": b"# MS MARCO"}


def article(number: int, text: str | None = None) -> dict[str, Any]:
    """An article of five sentences, or of `text`."""
    text = text if text is not None else " ".join(f"Sentence {i} of article {number} says a little." for i in range(5))
    return {"id": str(number), "url": f"https://example.org/{number}", "title": f"Title {number}", "text": text}


def wikipedia_files(
    articles: Sequence[Any], *, shards: int = 2, configuration: str = "20231101.en", schema: pa.Schema = WIKIPEDIA
) -> dict[str, bytes]:
    """The files of a configuration, the articles in that many, beside those of two others."""
    other = _shards("20231101.de/train", articles[:1], schema, 1) | _shards(
        "20220301.simple/train", articles[:1], schema, 1
    )
    return _shards(f"{configuration}/train", articles, schema, shards) | other | {"README.md": b"# Wikipedia"}


def parquet(rows: Sequence[Any], schema: pa.Schema, *, row_group: int = 4) -> bytes:
    """A parquet file in row groups of that many rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, row_group_size=row_group)
    return buffer.getvalue()


def _shards(prefix: str, rows: Sequence[Any], schema: pa.Schema, count: int) -> dict[str, bytes]:
    size = -(-len(rows) // count)
    parts = [rows[size * i : size * (i + 1)] for i in range(count)]
    return {f"{prefix}-{i:05}-of-{count:05}.parquet": parquet(part, schema) for i, part in enumerate(parts)}


def _sibling(repo: Repo, name: str) -> dict[str, Any]:
    body = repo.files[name]
    size = repo.listed_sizes.get(name, len(body))
    found: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _git_sha1(body)}
    if _is_large(name):
        found["lfs"] = {"size": size, "sha256": hashlib.sha256(body).hexdigest(), "pointerSize": 134}
    return found


def _is_large(name: str) -> bool:
    return name.endswith((".parquet", ".safetensors", ".bin"))


def _git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
