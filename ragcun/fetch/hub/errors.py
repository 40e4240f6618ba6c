"""What went wrong at the Hugging Face hub: whether to try again, and what to tell the user."""

import errno
from http import HTTPStatus

from httpx2 import NetworkError, RemoteProtocolError, TimeoutException
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from ragcun.core.errors import without_secrets
from ragcun.fetch.hub.token import hub_token, without_token
from ragcun.fetch.retry import BUSY

# What a call to the hub raises for a reason outside the code.
HUB_ERRORS = (HTTPError, XetDownloadError, OSError, HFValidationError)

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MOST_CHARACTERS = 300
_SET_TOKEN = "in the environment or in .env"


class UnlikeTheHubError(OSError):
    """Something answers, but not as the hub does."""


def cause_of(error: Exception) -> Exception:
    """The failure behind the library's report that a file is not in the cache, which it raises when it cannot ask for it."""
    behind = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(behind, Exception):
        return behind
    return error


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    match error:
        case OfflineModeIsEnabled() | HFValidationError():
            return False
        case HfHubHTTPError():
            return error.response.status_code in BUSY
        case TimeoutException() | NetworkError() | RemoteProtocolError() | XetDownloadError():
            return True
        case OSError():
            # A body of the wrong length, or an answer without the hub's headers; errors of the system have a number.
            return error.errno is None
    return False


def explain(error: Exception, *, kind: str, page: str, instead: str) -> str:
    """Cause, remedy and, in brackets, the error itself.

    kind: model or dataset. page: its address in a browser. instead: what the user can do without the repository.
    """
    detail = " ".join(without_secrets(without_token(str(error))).split())
    if len(detail) > _MOST_CHARACTERS:
        detail = detail[:_MOST_CHARACTERS] + " …"
    return f"{_explain(error, kind, page, instead)} ({type(error).__name__}: {detail})"


def _explain(error: Exception, kind: str, page: str, instead: str) -> str:
    host = page.split("/", 3)[2]
    match error:
        case OfflineModeIsEnabled():
            return f"offline mode is on; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE to fetch it, or {instead}"
        case GatedRepoError() if hub_token():
            return (
                f"access is gated, and the account of HF_TOKEN has none; accept the terms on {page} with that account, "
                f"or set HF_TOKEN {_SET_TOKEN} to a token of one that has"
            )
        case GatedRepoError():
            return (
                f"access is gated; accept the terms on {page} with your account, then set HF_TOKEN {_SET_TOKEN} to a "
                "token of it"
            )
        case RepositoryNotFoundError():
            may = "HF_TOKEN may not read it" if hub_token() else "it is private"
            return (
                f"there is no such {kind} on {host}, or {may}; correct the name, or set HF_TOKEN {_SET_TOKEN} to a "
                "token that may read it"
            )
        case RevisionNotFoundError():
            return f"there is no such revision of the {kind}; see {page}/commits/main for those there are"
        case EntryNotFoundError():
            return f"{host} lists a file that it does not have; run again later, or name another revision"
        case HfHubHTTPError():
            return _explain_status(error.response.status_code, host, instead)
        case HFValidationError():
            return f"that is no name on the hub (ORGANISATION/NAME); correct it, or {instead}"
        case XetDownloadError():
            return "the hub's Xet storage failed; run again, or set HF_HUB_DISABLE_XET=1 to use plain HTTP"
        case HTTPError():
            return f"{host} cannot be reached; check the network, set HF_ENDPOINT to a mirror, or {instead}"
        case OSError() if error.errno in _NO_SPACE:
            return (
                f"no space is left in {constants.HF_HUB_CACHE}; make room, or set HF_HOME to a folder on a larger disk"
            )
        case OSError() if error.errno is not None:
            return f"{constants.HF_HUB_CACHE} cannot be used; correct its permissions, or set HF_HOME to another folder"
    return f"{host} does not answer as the hub does; check HF_ENDPOINT and any proxy, or run again later"


def _explain_status(status: int, host: str, instead: str) -> str:
    match status:
        case 401:
            return f"{host} does not accept the token; set HF_TOKEN {_SET_TOKEN} to a valid one, or to none"
        case 403:
            return f"{host} forbids it; give the token of HF_TOKEN the permission to read it"
        case 429:
            return f"{host} refuses: too many requests; run again later, or set HF_TOKEN, which has a higher limit"
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
    return f"{host} fails: {status} {phrase}; run again later, set HF_ENDPOINT to a mirror, or {instead}"
