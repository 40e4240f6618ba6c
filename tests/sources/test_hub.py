"""A Hugging Face model over real HTTP: what is taken, what lies beside it, and what each failure says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, file_download

from ragcun.core.errors import RagcunError
from ragcun.sources.models import HubModel
from tests.servers.http import Fault, HttpServer, Response
from tests.servers.hub import TOKEN, HubServer, Repo, hub_environment
from tests.sources.conftest import MODEL_FILES, UNWANTED_FILES, StartHub, files_of

OPEN = Repo("model", "maker/model", {**MODEL_FILES, **UNWANTED_FILES}, "apache-2.0")
REPOS = (
    OPEN,
    Repo("model", "maker/gated", MODEL_FILES, gated=True),
    Repo("model", "maker/private", MODEL_FILES, private=True),
    Repo("model", "maker/bare", {"config.json": b"{}", "model.safetensors": b"w"}),
)
ORIGIN = {"name": "maker/model", "revision": "main", "commit": OPEN.commit, "licence": "apache-2.0"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def taken_of(target: Path) -> dict[str, bytes]:
    """The model's own files, without what ragcun notes beside them."""
    return {name: body for name, body in files_of(target).items() if name != "hub.json"}


def test_a_model_is_taken_without_code_pickles_other_engines_and_bookkeeping(start_hub: StartHub, target: Path) -> None:
    hub = start_hub(REPOS)
    HubModel("maker/model").fetch(target=target)
    assert taken_of(target) == MODEL_FILES
    assert not hub.asked_for("pytorch_model.bin")
    assert not hub.asked_for("modeling.py")


def test_the_commit_and_the_licence_lie_beside_the_model_and_nothing_that_changes(
    start_hub: StartHub, target: Path
) -> None:
    start_hub(REPOS)
    HubModel("maker/model").fetch(target=target)
    first = (target / "hub.json").read_bytes()
    assert json.loads(first) == ORIGIN
    shutil.rmtree(target)
    HubModel(f"maker/model@{OPEN.commit}").fetch(target=target)
    assert json.loads((target / "hub.json").read_bytes()) == ORIGIN | {"revision": OPEN.commit}
    shutil.rmtree(target)
    HubModel("maker/model").fetch(target=target)
    assert (target / "hub.json").read_bytes() == first


def test_a_model_is_loaded_as_the_one_that_was_put_on_the_hub(
    start_hub: StartHub, target: Path, tiny_base: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    start_hub(
        [Repo("model", "maker/tiny", files_of(tiny_base) | {"pytorch_model.bin": b"pickle", "evil.py": b"raise"})]
    )
    HubModel("maker/tiny").fetch(target=target)
    assert taken_of(target) == files_of(tiny_base)
    texts = ["river boat", "the red star"]
    loaded, saved = (SentenceTransformer(str(path), device="cpu").encode(texts) for path in (target, tiny_base))
    assert (loaded == saved).all()


def test_what_is_in_the_cache_is_not_fetched_again_and_not_trusted(start_hub: StartHub, target: Path) -> None:
    hub = start_hub(REPOS)
    HubModel("maker/model").fetch(target=target)
    asked = len(hub.log)
    HubModel("maker/model").fetch(target=target)
    assert [seen.path for seen in hub.log[asked:]] == ["/api/models/maker/model/revision/main?blobs=true"]
    (blob,) = (path.resolve() for path in Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    blob.write_bytes(b"WEIGHTS")
    HubModel("maker/model").fetch(target=target)
    assert taken_of(target) == MODEL_FILES


def test_a_path_out_of_the_folder_is_not_followed(start_hub: StartHub, target: Path) -> None:
    outside = dict.fromkeys(("../evil.json", "/evil.json", "a/../../evil.json"), b"{}")
    start_hub([Repo("model", "maker/evil", {**MODEL_FILES, **outside})])
    HubModel("maker/evil").fetch(target=target)
    assert taken_of(target) == MODEL_FILES
    assert not list(target.parent.glob("*.json"))


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_each_fault_of_a_files_download_is_overcome(start_hub: StartHub, target: Path, fault: Fault) -> None:
    # The list of files, HEAD of the first file, its body.
    hub = start_hub(REPOS, faults=[None, None, fault], stall=1.0)
    HubModel("maker/model").fetch(target=target)
    assert taken_of(target) == MODEL_FILES
    assert hub.met[fault] == 1


@pytest.mark.parametrize("fault", [Fault.E429, Fault.E500, Fault.RESET, Fault.STALL, Fault.SHORT_BODY])
@pytest.mark.parametrize("before", [0, 1], ids=["list", "head"])
def test_each_fault_before_a_download_is_overcome(start_hub: StartHub, target: Path, fault: Fault, before: int) -> None:
    hub = start_hub(REPOS, faults=[None] * before + [fault, fault], stall=1.0)
    HubModel("maker/model").fetch(target=target)
    assert taken_of(target) == MODEL_FILES
    assert hub.met[fault] == 2


def test_a_body_that_breaks_off_is_continued_where_it_stopped(
    start_hub: StartHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library keeps whole pieces of 10 MiB; here they are smaller.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    weights = bytes(range(256)) * 50
    repo = Repo("model", "maker/large", {**MODEL_FILES, "model.safetensors": weights})
    hub = start_hub([repo], faults=[Fault.SHORT_BODY] * 2, faulty=lambda request: request.path.startswith("/storage"))
    HubModel("maker/large").fetch(target=target)
    assert taken_of(target)["model.safetensors"] == weights
    ranges = [seen.headers["Range"] for seen in hub.log if seen.path.startswith("/storage")]
    assert ranges == [None, "bytes=6000-", "bytes=9000-"]


def test_waits_grow_and_honour_the_server(start_hub: StartHub, target: Path) -> None:
    hub = start_hub(REPOS, faults=[Fault.E500, Fault.E500, Fault.E429, None], retry_after="7")
    HubModel("maker/model").fetch(target=target)
    first, second, third = hub.waits
    assert 0.5 <= first <= 1.5
    assert 1 <= second <= 3
    assert third == 7


def test_a_file_that_comes_damaged_twice_is_an_error_and_does_not_stay(start_hub: StartHub, target: Path) -> None:
    start_hub(REPOS, faults=[Fault.FLIPPED_BYTE] * 2, faulty=lambda request: request.path.startswith("/storage"))
    with pytest.raises(
        RagcunError, match=r"model\.safetensors of .* came damaged twice \(SHA-256 .* instead of .*\) and was"
    ):
        HubModel("maker/model").fetch(target=target)
    assert not list(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    HubModel("maker/model").fetch(target=target)
    assert taken_of(target) == MODEL_FILES


def test_a_small_file_is_held_to_gits_hash_and_any_file_to_its_size(start_hub: StartHub, target: Path) -> None:
    start_hub(
        REPOS,
        faults=[Fault.FLIPPED_BYTE] * 2,
        faulty=lambda request: request.method == "GET" and "vocab" in request.path,
    )
    with pytest.raises(RagcunError, match=r"vocab\.txt of .* came damaged twice \(git hash"):
        HubModel("maker/model").fetch(target=target)
    start_hub([Repo("model", "maker/model", MODEL_FILES, listed_sizes={"vocab.txt": 5})])
    with pytest.raises(RagcunError, match=r"vocab\.txt of .* came damaged twice \(4 bytes instead of 5\)"):
        HubModel("maker/model").fetch(target=target)


FAILURES: dict[str, tuple[str, Mapping[str, str], str]] = {
    "unknown": (
        "maker/nothing",
        {},
        r"no such model on .*, or it is private; correct the name, or set HF_TOKEN in the env",
    ),
    "unknown, token": ("maker/nothing", {"HF_TOKEN": TOKEN}, "no such model on .*, or HF_TOKEN may not read it"),
    "private": ("maker/private", {}, "or it is private; correct the name, or set HF_TOKEN"),
    "gated": (
        "maker/gated",
        {},
        r"gated; accept the terms on http://.*/maker/gated with your account, then set HF_TOKEN in",
    ),
    "gated, token": (
        "maker/gated",
        {"HF_TOKEN": TOKEN},
        "gated, and the account of HF_TOKEN has none; accept the terms on",
    ),
    "wrong token": (
        "maker/model",
        {"HF_TOKEN": "hf_wrong"},
        "does not accept the token; set HF_TOKEN in the environment or",
    ),
    "revision": (
        "maker/model@v9",
        {},
        "there is no such revision of the model; see http://.*/maker/model/commits/main",
    ),
    "no name": (
        "not a name",
        {},
        "that is no name on the hub .*; correct it, or use pypi:NAME or the path of a folder",
    ),
    "no network": (
        "maker/model",
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        r"5 attempts: 127\.0\.0\.1:9 cannot be reached; check",
    ),
    "endpoint": (
        "maker/model",
        {"HF_ENDPOINT": "hub.example"},
        "HF_ENDPOINT is no address of a hub: give it as https://HOST",
    ),
    "not a model": ("maker/bare", {}, r"Hugging Face model maker/bare is not a SentenceTransformer"),
}


@pytest.mark.parametrize(("spec", "variables", "message"), FAILURES.values(), ids=FAILURES)
def test_each_failure_says_what_it_is_and_what_to_do(
    start_hub: StartHub,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    spec: str,
    variables: Mapping[str, str],
    message: str,
) -> None:
    start_hub(REPOS)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RagcunError, match=message):
        HubModel(spec).fetch(target=target)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.E429, "after 5 attempts: .* refuses: too many requests; run again later"),
        (Fault.E500, "after 5 attempts: .* fails: 500 Internal Server Error; run again later"),
        (Fault.RESET, "after 5 attempts: .* cannot be reached"),
    ],
)
@pytest.mark.parametrize("path", ["/api", "/maker"], ids=["list", "file"])
def test_a_fault_that_stays_is_an_error_in_the_end(
    start_hub: StartHub, target: Path, fault: Fault, message: str, path: str
) -> None:
    start_hub(REPOS, faults=[fault] * 1000, faulty=lambda request: request.path.startswith(path))
    with pytest.raises(RagcunError, match=message):
        HubModel("maker/model").fetch(target=target)


def test_something_else_behind_the_address_is_named(
    start_hub: StartHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_hub(REPOS)
    with HttpServer(lambda request: Response(b"<html>please log in</html>")) as portal:
        monkeypatch.setenv("HF_ENDPOINT", portal.url)
        with pytest.raises(RagcunError, match="does not answer as the hub does; check HF_ENDPOINT and any proxy"):
            HubModel("maker/model").fetch(target=target)


def test_offline_mode_is_named(start_hub: StartHub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = start_hub(REPOS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RagcunError, match="offline mode is on; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"):
        HubModel("maker/model").fetch(target=target)
    assert not hub.log


def test_a_full_disk_is_named_and_nothing_half_written_stays(
    start_hub: StartHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_hub(REPOS)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(file_download, "http_get", full)
        with pytest.raises(RagcunError, match=r"no space is left in .*cache; make room, or set HF_HOME"):
            HubModel("maker/model").fetch(target=target)
    assert not [path for path in Path(constants.HF_HUB_CACHE).rglob("blobs/*") if path.is_file()]
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RagcunError, match=r"cannot be copied to .* \(No space left on device\); make room"):
        HubModel("maker/model").fetch(target=target)


FETCH = "import sys; from pathlib import Path; from ragcun.sources.models import HubModel; "
FETCH += "HubModel('maker/model').fetch(target=Path(sys.argv[1]))"


def test_a_killed_download_does_not_look_complete_and_the_next_one_is(target: Path, tmp_path: Path) -> None:
    options: Any = {
        "faults": [Fault.SLOW_BODY],
        "faulty": lambda request: request.path.startswith("/storage"),
        "slow": 60.0,
    }
    with HubServer(REPOS, **options) as hub:
        environment = os.environ | hub_environment(hub, tmp_path)
        process = subprocess.Popen([sys.executable, "-c", FETCH, str(target)], env=environment)
        try:
            while not any(seen.path.startswith("/storage") for seen in hub.log):
                assert process.poll() is None, "the process ended before it was killed"
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not list((tmp_path / "hf").rglob("model.safetensors"))
        subprocess.run([sys.executable, "-c", FETCH, str(target)], env=environment, check=True)
    assert taken_of(target) == MODEL_FILES
