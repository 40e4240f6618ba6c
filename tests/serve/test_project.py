"""`ragcun project`: what it writes is what the whole model gives, from every form of vectors, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from ragcun.cli import main
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, write_embeddings
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.params import ProjectionKind
from ragcun.serve import vector_files
from tests.tiny import HIDDEN, WORDS

DIM = 12


@pytest.fixture(scope="module")
def model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=DIM, similarity="cosine", device="cpu")
    set_random_map(encoder.projection)
    folder = tmp_path_factory.mktemp("models") / "trained"
    encoder.save_finished(folder)
    return folder


@pytest.fixture
def vectors(tiny_base: Path) -> np.ndarray:
    return SentenceTransformer(str(tiny_base), device="cpu").encode(WORDS)


@pytest.fixture
def wanted(model: Path) -> np.ndarray:
    return SentenceTransformer(str(model), device="cpu").encode(WORDS)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == np.float32 and float(np.abs(a - b).max()) < 1e-5


def test_vectors_of_other_lengths_are_normalised_as_the_base_does(
    model: Path, vectors: np.ndarray, wanted: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "base.npy", vectors * np.linspace(0.2, 9, len(vectors), dtype=np.float32)[:, None])
    assert main(["project", str(model), str(tmp_path / "base.npy"), str(tmp_path / "out.npy")]) == 0
    assert close(np.load(tmp_path / "out.npy"), wanted)


@pytest.mark.parametrize("projection", ["two_layer", "linear"])
def test_a_base_without_its_normalize_takes_vectors_of_their_own_lengths(
    tiny_base: Path, vectors: np.ndarray, tmp_path: Path, projection: ProjectionKind, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = IsotropicGaussianEncoder(
        base_model=str(tiny_base), output_dim=DIM, normalize_base="drop", projection=projection, device="cpu"
    )
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    wanted = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(WORDS, normalize_embeddings=True)
    np.save(tmp_path / "bare.npy", load_base(str(tmp_path / "model"), device="cpu").encode(WORDS))
    np.save(tmp_path / "unit.npy", vectors)

    def projected(name: str) -> int:
        options = [str(tmp_path / f"{name}.npy"), str(tmp_path / f"{name}-out.npy"), "--normalize"]
        return main(["project", str(tmp_path / "model"), *options])

    assert projected("bare") == 0
    assert close(np.load(tmp_path / "bare-out.npy"), wanted)
    if projection == "linear":
        assert projected("unit") == 0
        assert close(np.load(tmp_path / "unit-out.npy"), wanted)
    else:
        assert projected("unit") == 1
        assert "does not normalise (normalize_base: drop): encode with" in capsys.readouterr().err
        assert not (tmp_path / "unit-out.npy").exists()


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", ">f4"])
def test_npy(
    model: Path, vectors: np.ndarray, wanted: np.ndarray, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "ROWS_A_CHUNK", 5)
    assert len(vectors) % 5, "the last chunk is shorter"
    np.save(tmp_path / "base.npy", vectors.astype(dtype))
    assert main(["project", str(model), str(tmp_path / "base.npy"), str(tmp_path / "out.npy")]) == 0
    found = np.load(tmp_path / "out.npy")
    assert close(found, wanted) if dtype != "<f2" else np.abs(found - wanted).max() < 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.npy", "out.npy"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.list_(pa.float32(), HIDDEN)])
def test_parquet_keeps_ids_and_further_columns(
    model: Path,
    vectors: np.ndarray,
    wanted: np.ndarray,
    tmp_path: Path,
    kind: pa.DataType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vector_files, "ROWS_A_CHUNK", 5)
    table = pa.table({"id": WORDS, "vector": pa.array(vectors.tolist(), kind), "n": range(len(WORDS))})
    pq.write_table(table, tmp_path / "base.parquet")
    assert main(["project", str(model), str(tmp_path / "base.parquet"), str(tmp_path / "out.parquet")]) == 0
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["id"].tolist() == WORDS
    assert found["n"].tolist() == list(range(len(WORDS)))
    assert close(np.stack(found["vector"]), wanted)


def test_folder_of_either_side(model: Path, tiny_base: Path, tmp_path: Path) -> None:
    encoder = TextEncoder(
        SentenceTransformer(str(tiny_base), device="cpu"), dtype="float32", batch_tokens=128, max_length=None
    )
    write_embeddings(tmp_path / "store", encoder, benchmark_texts(WORDS[:7], {"q1": WORDS[9]}, []))
    plain = SentenceTransformer(str(model), device="cpu")
    for side, texts, option in (("corpus", WORDS[:7], []), ("queries", [WORDS[9]], ["--query"])):
        out = tmp_path / side
        assert main(["project", str(model), str(tmp_path / "store"), str(out), *option]) == 0
        assert close(np.load(out / f"{side}.npy"), plain.encode(texts))


def test_normalize(model: Path, vectors: np.ndarray, wanted: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", vectors)
    main(["project", str(model), str(tmp_path / "base.npy"), str(tmp_path / "out.npy"), "--normalize"])
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1, "else normalising changes nothing"
    assert close(np.load(tmp_path / "out.npy"), wanted / lengths)


def test_a_model_of_another_make_is_loaded(tiny_base: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=DIM, similarity="cosine", device="cpu")
    set_random_map(encoder.projection)
    encoder.save(str(tmp_path / "model"))  # a checkpoint: its base is not known without loading it
    np.save(tmp_path / "base.npy", vectors)
    assert main(["project", str(tmp_path / "model"), str(tmp_path / "base.npy"), str(tmp_path / "out.npy")]) == 0
    assert close(
        np.load(tmp_path / "out.npy"), SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(WORDS)
    )


def test_no_library_of_models_is_loaded(model: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", vectors)
    program = "import sys, ragcun.cli as c\nassert c.main(['project', *sys.argv[1:]]) == 0\n"
    program += "assert not {'sentence_transformers', 'transformers'} & set(sys.modules)"
    command = [sys.executable, "-c", program, str(model), str(tmp_path / "base.npy"), str(tmp_path / "out.npy")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "project: 100%" in ran.stderr


def test_what_cannot_be_projected_is_one_line_with_its_remedy(
    model: Path, tiny_base: Path, vectors: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "base.npy", vectors)
    np.save(tmp_path / "other.npy", vectors[:, :5])
    np.save(tmp_path / "flat.npy", vectors[0])
    broken = vectors.copy()
    broken[3, 1] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    rows = vectors.tolist()
    rows[4] = rows[4][:-1]
    pd.DataFrame({"v": rows}).to_parquet(tmp_path / "uneven.parquet")
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "none.parquet")
    encoder = TextEncoder(
        SentenceTransformer(str(tiny_base), device="cpu"), dtype="float32", batch_tokens=128, max_length=None
    )
    write_embeddings(tmp_path / "store", encoder, benchmark_texts(WORDS[:3], {}, []))
    manifest = json.loads((tmp_path / "store/manifest.json").read_text())
    (tmp_path / "store/manifest.json").write_text(json.dumps(manifest | {"max_length": 7}))
    for place, source, out, message in [
        (tiny_base, "base.npy", "out.npy", "has no projection that ragcun saved"),
        (model, "nowhere.npy", "out.npy", "does not exist"),
        (model, "base.txt", "out.npy", "is none of .npy, .parquet"),
        (model, "base.npy", "base.npy", "is there already"),
        (model, "base.npy", "out.parquet", "must end in .npy"),
        (model, "other.npy", "out.npy", "has vectors of 5 dimensions"),
        (model, "flat.npy", "out.npy", "it needs one vector of floats a row"),
        (model, "nan.npy", "out.npy", "row 4: the vector is not finite"),
        (model, "uneven.parquet", "out.parquet", "row 5: `v` has another length"),
        (model, "none.parquet", "out.parquet", "it needs one of lists of floats"),
        (model, "store", "out", "another base than .* (max_length)"),
        (model, ".", "out", "which has no manifest.json"),
    ]:
        before = sorted(path.name for path in tmp_path.iterdir())
        assert main(["project", str(place), str(tmp_path / source), str(tmp_path / out)]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("error: ")
        assert message.split(".*")[0] in said, said
        assert message.split(".*")[-1] in said, said
        assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is left behind"
