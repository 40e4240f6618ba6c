"""A repository on the Hugging Face hub at one commit: its files, fetched and verified.

One call names the commit, the licence and every file with its size and hash; then each file comes through
`hf_hub_download`, which keeps it in HF_HOME, resumes it and publishes it by a rename. This module adds what the library
does not do: retries where the hub is busy or the connection breaks, and a check of each file's size and hash (SHA-256, or
git's where it is no LFS file). HF_ENDPOINT may name another hub, with user and password: these are sent to it alone, in
the place of a token, and are in no address that the library could show.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils._http import default_client_factory

from ragcun.core.errors import RagcunError
from ragcun.core.files import sha256_file
from ragcun.fetch.http import Address
from ragcun.fetch.hub.errors import HUB_ERRORS, UnlikeTheHubError, cause_of, explain, is_passing
from ragcun.fetch.hub.token import hub_token
from ragcun.fetch.retry import PassingError, Patience, retried, seconds_asked

logger = logging.getLogger(__name__)

_HUB = "https://huggingface.co"
_ENDPOINT = re.compile(r"https?://([^\s/?#@]+@)?[^\s/?#@]+(/[^\s?#@]*)?")
_PATIENCE = Patience(attempts=5)
# Seconds for the list of files; for a file the library has timeouts.
_TIMEOUT = 30.0
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub lists it; what it does not say is None."""

    path: str
    size: int | None
    sha256: str | None
    git_sha1: str | None


class HubRepo:
    """A repository at the commit that `revision` names now; making one asks the hub.

    Args:
        revision: a branch, tag or commit; None is the main branch.
        setting: what names it in params.yaml, for messages. instead: what the user can do without it, for messages.

    Raises RagcunError where there is no such name or revision, no access or no network.
    """

    def __init__(
        self, kind: Literal["model", "dataset"], name: str, revision: str | None, *, setting: str, instead: str
    ) -> None:
        self.kind, self.name, self.revision, self.instead = kind, name, revision or "main", instead
        self.setting = setting
        self.endpoint = _endpoint()
        info = self._ask("the list of its files", self._info)
        self.commit: str = info.sha
        self.licence = _licence(info)
        self.files = sorted((_hub_file(sibling) for sibling in info.siblings), key=lambda file: file.path)

    @property
    def page(self) -> str:
        """Its address in a browser."""
        return f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def fetch(self, file: HubFile) -> Path:
        """The file in the user's cache, downloaded if it is not there yet, and equal to what the hub lists.

        Raises RagcunError where it cannot be had, or what comes differs from the list twice.
        """
        for again in (False, True):
            path = Path(self._ask(file.path, lambda: self._download(file)))
            wrong = _difference(path, file)
            if wrong is None:
                return path
            _remove(path)
            if not again:
                logger.warning("%s of %s is damaged (%s); fetching it again", file.path, self.name, wrong)
        raise RagcunError(
            f"{self.setting}: {file.path} of the {self.kind} {self.name} came damaged twice ({wrong}) and was removed; "
            "run again later, or set HF_ENDPOINT to another mirror"
        )

    def _info(self) -> Any:
        api = HfApi(endpoint=self.endpoint, token=hub_token())
        try:
            info: Any = api.repo_info(
                self.name, repo_type=self.kind, revision=self.revision, files_metadata=True, timeout=_TIMEOUT
            )
        except (HTTPError, HFValidationError):
            raise
        except (ValueError, KeyError, TypeError) as error:
            # Half of the list arrived, or the page of a proxy.
            raise UnlikeTheHubError(f"the list of files cannot be read: {error}") from error
        if not info.sha or info.siblings is None:
            raise UnlikeTheHubError("the answer names no commit or no files")
        return info

    def _download(self, file: HubFile) -> str:
        return hf_hub_download(
            self.name, file.path, repo_type=self.kind, revision=self.commit, endpoint=self.endpoint, token=hub_token()
        )

    def _ask(self, what: str, call: Callable[[], _Result]) -> _Result:
        """The call's result, tried again where it fails for a passing reason."""

        def attempt() -> _Result:
            try:
                return call()
            except HUB_ERRORS as raised:
                error = cause_of(raised)
                why = explain(error, kind=self.kind, page=self.page, instead=self.instead)
                if is_passing(error):
                    wait = seconds_asked(error.response.headers) if isinstance(error, HfHubHTTPError) else None
                    raise PassingError(why, wait) from error
                raise self._error(what, why) from error

        try:
            return retried(attempt, _PATIENCE, label=f"{self.name}, {what}")
        except PassingError as failure:
            raise self._error(f"{what}, after {_PATIENCE.attempts} attempts", str(failure)) from failure.__cause__

    def _error(self, what: str, why: str) -> RagcunError:
        return RagcunError(f"{self.setting}: the {self.kind} {self.name} at {self.revision}, {what}: {why}")


class _AtTheMirror(httpx2.BasicAuth):
    """Sends user and password to the mirror alone: not to the storage or the hub that it redirects to."""

    def __init__(self, mirror: Address, user: str, password: str) -> None:
        super().__init__(user, password)
        self._mirror = httpx2.URL(mirror.bare)

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        asked, mirror = request.url, self._mirror
        if (asked.scheme, asked.host, asked.port) == (mirror.scheme, mirror.host, mirror.port):
            yield from super().auth_flow(request)
        else:
            yield request


def _endpoint() -> str:
    """The hub's address, without the credentials that HF_ENDPOINT may hold; the library's client gets those."""
    given = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _HUB
    if not _ENDPOINT.fullmatch(given):
        raise RagcunError(
            "HF_ENDPOINT is no address of a hub: give it as https://HOST, or as https://USER:PASSWORD@HOST with special "
            "characters percent-encoded, or unset it"
        )
    address = Address(given)
    if address.auth is not None:
        auth = _AtTheMirror(address, *address.auth)

        def client() -> httpx2.Client:
            made = default_client_factory()
            made.auth = auth
            return made

        set_client_factory(client)
        # The library read HF_ENDPOINT when it was imported, and asks a thing or two there.
        constants.ENDPOINT = address.bare
        constants.HUGGINGFACE_CO_URL_TEMPLATE = address.bare + "/{repo_id}/resolve/{revision}/{filename}"
    return address.bare


def _hub_file(sibling: Any) -> HubFile:
    if sibling.lfs is not None:
        return HubFile(sibling.rfilename, sibling.lfs.size, sibling.lfs.sha256, None)
    return HubFile(sibling.rfilename, sibling.size, None, sibling.blob_id)


def _licence(info: Any) -> str | None:
    card = info.card_data
    named = card.get("license") if card is not None else None
    return ", ".join(map(str, named)) if isinstance(named, list) else named


def _difference(path: Path, file: HubFile) -> str | None:
    """How the file at `path` differs from the hub's list; None where it does not."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size} bytes instead of {file.size}"
    if file.sha256 is not None:
        seen, listed, kind = sha256_file(path), file.sha256, "SHA-256"
    elif file.git_sha1 is not None:
        seen, listed, kind = _git_sha1(path, size), file.git_sha1, "git hash"
    else:
        return None
    return None if seen == listed else f"{kind} {seen} instead of {listed}"


def _git_sha1(path: Path, size: int) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def _remove(path: Path) -> None:
    """Remove a file of the cache and what its link leads to, or the library would use that again."""
    content = path.resolve()
    path.unlink(missing_ok=True)
    content.unlink(missing_ok=True)
