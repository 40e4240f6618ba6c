"""An export that the clients load, its vectors as ragcun gives them, and the record of how near each client comes.

By default the export is of a tiny model. `make clients MODEL=models/smart_hybrid` takes a real one, for the table in docs.
"""

import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.tiny import WORDS, save_tiny_base, tiny_benchmark

LEAST = 0.999


class Served(NamedTuple):
    """The folder of an export, texts, and their vectors by torch in fp32, of length 1."""

    folder: Path
    texts: list[str]
    vectors: np.ndarray


# Name, version and what of the export was loaded; the vectors; whether they must be ours.
Record = Callable[..., None]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model."""
    if os.environ.get("RAGCUN_CLIENTS_MODEL"):
        return Path(os.environ["RAGCUN_CLIENTS_MODEL"]).absolute()
    from ragcun.model.encoder import IsotropicGaussianEncoder
    from ragcun.model.projection import set_random_map

    folder = tmp_path_factory.mktemp("model")
    base = save_tiny_base(folder / "base", prompts={"query": "query ", "document": "passage "})
    # As all-MiniLM-L6-v2 has it: a length that the model does not keep to.
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"max_length": 8}))
    encoder = IsotropicGaussianEncoder(base_model=str(base), output_dim=12, similarity="cosine", device="cpu")
    set_random_map(encoder.projection)
    encoder.save_finished(folder / "trained")
    return folder / "trained"


@pytest.fixture(scope="session")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    from ragcun.serve.export import Request, export

    folder = tmp_path_factory.mktemp("export") / "exported"
    # A folder without pairs: parity is measured over the probes alone, which is enough and quick.
    export(Request(str(model), folder, project=folder.parent))
    texts = [*tiny_benchmark().doc_texts, *WORDS[:6], "Naïve café, Łódź", "The Rhine is a river. " * 90]
    return Served(folder, texts, SentenceTransformer(str(model), device="cpu").encode(texts, normalize_embeddings=True))


@pytest.fixture(scope="session")
def figures() -> Iterator[list[dict[str, object]]]:
    """Rows of the table, written to RAGCUN_CLIENTS_FIGURES at the end."""
    rows: list[dict[str, object]] = []
    yield rows
    if path := os.environ.get("RAGCUN_CLIENTS_FIGURES"):
        Path(path).write_text(json.dumps(rows, indent=2) + "\n")


@pytest.fixture
def record(served: Served, figures: list[dict[str, object]]) -> Record:
    def keep(client: str, loads: str, vectors: object, *, release: str | None = None, must_hold: bool = True) -> None:
        found = np.asarray(vectors, dtype=np.float64)
        assert found.shape == served.vectors.shape
        cosines = (found * served.vectors).sum(axis=1) / np.linalg.norm(found, axis=1)
        figures.append(
            {
                "client": client,
                "version": version(client) if release is None else release,
                "loads": loads,
                "least_cosine": float(cosines.min()),
                "mean_cosine": float(cosines.mean()),
            }
        )
        assert not must_hold or cosines.min() >= LEAST, f"{client}: {cosines.min()}"

    return keep
