"""The token: where it is read, that it is sent to the hub alone, and that it is nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.hub.token import hub_token, without_token
from ragcun.sources.models import HubModel
from tests.servers.http import Fault
from tests.servers.hub import TOKEN, TOKEN_WITH_ACCESS, HubServer, Repo, article, hub_environment, wikipedia_files
from tests.sources.conftest import MODEL_FILES, StartHub

REPOS = (
    Repo("model", "maker/model", MODEL_FILES),
    Repo("model", "maker/gated", MODEL_FILES, gated=True),
    Repo("dataset", "wikimedia/wikipedia", wikipedia_files([article(1)]), private=True),
)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "project" / ".dvc" / "tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")


def test_the_environment_comes_before_the_file_and_an_experiments_copy_finds_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert hub_token() is None
    Path(".env").write_text("OTHER=1\nHF_TOKEN='of the file'\nHF_TOKEN=of-the-file # mine\n")
    assert hub_token() == "of-the-file"
    assert "HF_TOKEN" not in os.environ
    monkeypatch.chdir(".dvc/tmp")
    assert hub_token() == "of-the-file"
    monkeypatch.setenv("HF_TOKEN", " of-the-environment\n")
    assert hub_token() == "of-the-environment"
    assert without_token("Bearer of-the-environment") == "Bearer <HF_TOKEN>"
    monkeypatch.setenv("HF_TOKEN", "")
    assert hub_token() == "of-the-file"


@pytest.mark.parametrize("token", ["hf_se cret", "hf_se\ncret", "hf_secrét", "hf_se\x00cret"])
def test_what_cannot_be_a_token_is_an_error_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setattr(os, "environ", {"HF_TOKEN": token})
    with pytest.raises(RagcunError, match=r"^HF_TOKEN holds .* that no token has: copy it again$"):
        hub_token()


def test_a_file_that_is_no_text_is_an_error_that_does_not_show_it() -> None:
    Path(".env").write_bytes(b"HF_TOKEN=hf_secret\xff")
    with pytest.raises(RagcunError, match=r"\.env cannot be read \(UnicodeDecodeError\)") as raised:
        hub_token()
    assert raised.value.__cause__ is None
    assert "secret" not in str(raised.value)


def test_a_gated_model_is_fetched_with_the_token_of_the_file_which_goes_to_the_hub_alone(
    start_hub: StartHub, tmp_path: Path
) -> None:
    hub = start_hub(REPOS)
    Path(".env").write_text(f"HF_TOKEN={TOKEN_WITH_ACCESS}\n")
    HubModel("maker/gated").fetch(target=tmp_path / "project")
    sent = {seen.path.split("/")[1]: seen.headers["Authorization"] for seen in hub.log}
    # The server fails the test itself where the storage is sent a token.
    assert sent == {"api": f"Bearer {TOKEN_WITH_ACCESS}", "maker": f"Bearer {TOKEN_WITH_ACCESS}", "storage": None}


# Every kind of call and failure in one process with all its words: what it prints and writes is searched afterwards.
TALKATIVE = """
import logging, os, sys, traceback
from pathlib import Path
logging.basicConfig(level=1, stream=sys.stderr)
for name in list(logging.root.manager.loggerDict):
    logging.getLogger(name).setLevel(1)
    logging.getLogger(name).propagate = True
from huggingface_hub.utils import logging as hub_logging
hub_logging.set_verbosity_debug(); hub_logging.enable_propagation()
from ragcun.param_data import Wikipedia as Settings
from ragcun.sources.source_report import SourceReport
from ragcun.sources.records import write_passage_records
from ragcun.fetch.hub import client
from ragcun.fetch.retry import Patience
from ragcun.sources.models import HubModel
from ragcun.sources.wikipedia import Wikipedia
client._PATIENCE = Patience(attempts=5, first_wait=0.01)
folder = Path(sys.argv[1])

def wikipedia():
    report = SourceReport("wikipedia")
    settings = Settings(
        revision="main", language="en", dump_date="20231101", num_passages=9, min_length=20, max_length=100
    )
    write_passage_records(Wikipedia(settings, 1).passages(report), folder / "passages", report)

def model(name):
    (folder / name).mkdir(parents=True)
    HubModel(name).fetch(target=folder / name)

def offline():
    from huggingface_hub import constants
    constants.HF_HUB_OFFLINE = True
    model("maker/offline")

def refused():
    os.environ["HF_TOKEN"] = os.environ["WRONG_TOKEN"]
    model("maker/refused")

def no_network():
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    model("maker/far")

outcomes = []
calls = [wikipedia, *(lambda name=name: model(name) for name in ("maker/model", "maker/gated", "maker/none", "maker/model@v9"))]
for call in (*calls, refused, no_network, offline):
    try:
        call()
        outcomes.append("done")
    except Exception as error:
        traceback.print_exc()
        outcomes.append(type(error).__name__)
print(outcomes)
"""


def talk(folder: Path, hub: HubServer, **variables: str) -> tuple[str, str, dict[Path, bytes]]:
    """What `TALKATIVE` prints, says and writes with the hub."""
    talkative = {"WRONG_TOKEN": "hf_WrongSecretOfTheTests", "HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", TALKATIVE, str(folder / "written")],
        env=os.environ | hub_environment(hub, folder) | talkative | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    # The premise of both tests: it did talk.
    for words in ("DEBUG:httpcore2", "curl -X GET", "WARNING:ragcun.fetch.retry", "offline mode"):
        assert words in done.stderr
    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(path.name == "hub.json" for path in written)
    return done.stdout.strip(), done.stderr, written


def test_the_token_is_nowhere_whatever_is_logged_and_whatever_fails(tmp_path: Path) -> None:
    wrong = "hf_WrongSecretOfTheTests"
    with HubServer(REPOS, faults=[Fault.E429, Fault.E500, None, None, Fault.SHORT_BODY]) as hub:
        printed, said, written = talk(tmp_path, hub, HF_TOKEN=TOKEN)
    assert printed == str(["done", "done", *["RagcunError"] * 6])
    assert {f"Bearer {TOKEN}", f"Bearer {wrong}"} <= {seen.headers["Authorization"] for seen in hub.log}
    assert "GatedRepoError" in said
    for token in (TOKEN, wrong):
        assert token not in printed + said
        assert not [path for path, content in written.items() if token.encode() in content]


def test_a_mirrors_user_and_password_are_sent_to_it_alone_and_are_nowhere_else(tmp_path: Path) -> None:
    public = [Repo(repo.kind, repo.name, repo.files, gated=repo.gated) for repo in REPOS]
    faults = [Fault.E500, Fault.RESET, Fault.SHORT_BODY]
    # The library itself tries a file again, and says so with the address.
    files = {"faults": faults, "faulty": lambda request: not request.path.startswith("/api")}
    with HubServer(public, credentials="reader:se:cr@t", **files) as hub:
        endpoint = hub.url.replace("//", "//reader:se%3Acr%40t@")
        printed, said, written = talk(tmp_path, hub, HF_ENDPOINT=endpoint, HF_TOKEN=TOKEN)
    assert printed == str(["done", "done", *["RagcunError"] * 6])
    # The server fails the test itself where the storage is sent anything.
    assert {seen.headers["Authorization"] for seen in hub.log} == {hub.basic, None}
    assert "thrown while requesting" in said
    for secret in ("se%3Acr%40t", "se:cr@t", "reader", (hub.basic or "").removeprefix("Basic ")):
        assert secret not in printed + said
        assert not [path for path, content in written.items() if secret.encode() in content]


@pytest.mark.parametrize(
    "endpoint",
    ["me:secret@host", "https://me:se/cret@host", "https://host?token=secret", "https://", "https://h#secret"],
)
def test_an_endpoint_of_another_form_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(RagcunError, match="HF_ENDPOINT is no address of a hub: give it as https://HOST") as raised:
        HubModel("maker/model").fetch(target=tmp_path)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("fault", [None, Fault.E500])
def test_a_server_that_sends_the_token_back_does_not_bring_it_into_the_message(
    start_hub: StartHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Fault | None,
) -> None:
    start_hub(REPOS, echo=True, faults=[fault])
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with caplog.at_level("INFO"), pytest.raises(RagcunError, match=r"\(token: <HF_TOKEN>\)") as raised:
        HubModel("maker/gated").fetch(target=tmp_path)
    assert TOKEN not in str(raised.value)
    assert TOKEN not in caplog.text
