"""`ragcun adapt`: from every kind of corpus to a folder that plain sentence-transformers loads, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from ragcun.adapt.command import Request, adapt
from ragcun.adapt.rule import Statistics, choose, unit
from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.cli import main
from ragcun.core.errors import RagcunError
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, write_embeddings
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from tests.tiny import HIDDEN, WORDS

DOCUMENTS = [" ".join(WORDS[(at * step) % len(WORDS)] for step in range(1, 14)) for at in range(1, 41)]
# Above what two random layers give any corpus, so that nothing is left alone.
TARGET = 0.99


def write_beir(folder: Path) -> Path:
    folder.mkdir()
    rows = [{"_id": f"d{row}", "title": "", "text": text} for row, text in enumerate(DOCUMENTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_forms(folder: Path) -> dict[str, Path]:
    """The same corpus in every form."""
    frame = pd.DataFrame({"_id": [f"d{row}" for row in range(len(DOCUMENTS))], "text": DOCUMENTS})
    forms = {name: folder / f"corpus.{name}" for name in ("txt", "jsonl", "csv", "tsv", "parquet")}
    forms["txt"].write_text("\n".join(DOCUMENTS) + "\n")
    frame.to_json(forms["jsonl"], orient="records", lines=True)
    frame.to_csv(forms["csv"], index=False)
    frame.to_csv(forms["tsv"], index=False, sep="\t")
    frame.to_parquet(forms["parquet"])
    return forms | {"beir": write_beir(folder / "beir")}


def store(folder: Path, base: Path) -> Path:
    """What the stage embed_benchmark leaves, which a model over this base can be adapted from."""
    encoder = TextEncoder(
        SentenceTransformer(str(base), device="cpu"), dtype="float32", batch_tokens=128, max_length=None
    )
    stand_ins = [drawn.text for drawn in stand_in_queries(DOCUMENTS)]
    write_embeddings(folder, encoder, benchmark_texts(DOCUMENTS, {"q1": "a query"}, stand_ins))
    return folder


def expected(model: Path, *, directions: bool) -> np.ndarray:
    """The documents' adapted vectors, from sentence-transformers and the rule alone."""
    plain = SentenceTransformer(str(model), device="cpu")
    corpus = np.asarray(plain.encode_document(DOCUMENTS), dtype=np.float64)
    drawn = stand_in_queries(DOCUMENTS)
    asked = np.asarray(plain.encode_query([one.text for one in drawn]), dtype=np.float64)
    if directions:
        corpus, asked = unit(corpus), unit(asked)
    map_ = choose(Statistics.of(corpus, asked, np.array([one.row for one in drawn])), TARGET)
    assert not map_.left_alone
    return map_.apply(corpus)


def assert_adapted(out: Path, wanted: np.ndarray) -> None:
    vectors = SentenceTransformer(str(out), device="cpu").encode_document(DOCUMENTS)
    assert np.abs(vectors - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_every_form_of_a_corpus_gives_the_same_model(tiny_base: Path, tmp_path: Path) -> None:
    wanted = expected(tiny_base, directions=True)
    for name, place in write_forms(tmp_path).items():
        done = adapt(Request(str(tiny_base), place, tmp_path / f"out-{name}", to_isoscore=TARGET))
        assert (done["documents"], done["stand_in_queries"], done["queries"]) == (40, 40, 0)
        assert_adapted(tmp_path / f"out-{name}", wanted)
    done = adapt(Request(str(tiny_base), store(tmp_path / "store", tiny_base), tmp_path / "out", to_isoscore=TARGET))
    assert done["adapted"]
    assert_adapted(tmp_path / "out", wanted)


def test_a_model_with_a_projection_is_adapted_from_its_bases_vectors(tiny_base: Path, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=12, similarity="cosine", device="cpu")
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    wanted = expected(tmp_path / "model", directions=False)
    for place in (store(tmp_path / "store", tiny_base), write_beir(tmp_path / "beir")):
        out = tmp_path / f"out-{place.name}"
        adapt(Request(str(tmp_path / "model"), place, out, to_isoscore=TARGET))
        assert_adapted(out, wanted)


def test_a_model_that_does_not_normalise_is_adapted_by_its_directions(tiny_base: Path, tmp_path: Path) -> None:
    kept = [module for module in SentenceTransformer(str(tiny_base), device="cpu") if not isinstance(module, Normalize)]
    stretched = Dense(HIDDEN, HIDDEN, activation_function=nn.Tanh())
    model = SentenceTransformer(modules=[*kept, stretched], similarity_fn_name="cosine", device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    lengths = np.linalg.norm(model.encode(DOCUMENTS), axis=1)
    assert lengths.std() > 0.001 * lengths.mean(), "the lengths differ, else directions tell nothing"
    adapt(Request(str(tmp_path / "model"), write_beir(tmp_path / "beir"), tmp_path / "out", to_isoscore=TARGET))
    assert_adapted(tmp_path / "out", expected(tmp_path / "model", directions=True))


def test_given_queries_move_the_mean(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\n".join(WORDS) + "\n")
    corpus = write_beir(tmp_path / "beir")
    with_queries = Request(str(tiny_base), corpus, tmp_path / "with", tmp_path / "queries.txt", to_isoscore=TARGET)
    assert adapt(with_queries)["queries"] == len(WORDS)
    adapt(Request(str(tiny_base), corpus, tmp_path / "without", to_isoscore=TARGET))
    vectors = [
        SentenceTransformer(str(tmp_path / name), device="cpu").encode(DOCUMENTS) for name in ("with", "without")
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    moved = vectors[0] - vectors[1]
    assert np.abs(moved - moved[0]).max() < 1e-4, "every text moves by the same vector"


def test_judged_queries_choose_and_the_gain_is_told(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_beir(tmp_path / "beir")
    asked = [{"_id": f"q{row}", "text": " ".join(DOCUMENTS[row].split()[:4])} for row in range(20)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{row}\td{row}\t1" for row in range(20))]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    arguments = ["adapt", str(tiny_base), str(corpus), str(tmp_path / "out")]
    arguments += ["--queries", str(tmp_path / "queries.jsonl"), "--qrels", str(tmp_path / "test.tsv")]
    assert main([*arguments, "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)["judged"]
    assert judged["queries"] == 20
    assert judged["interval"][0] <= judged["gain"] <= judged["interval"][1]
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert main(arguments) == 0
    assert f"{judged['gain']:+.4f} (95 % interval" in capsys.readouterr().out


def test_an_isotropic_corpus_is_left_alone(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_beir(tmp_path / "beir")
    assert main(["adapt", str(tiny_base), str(corpus), str(tmp_path / "out"), "--to-isoscore", "0.0001"]) == 0
    assert "left alone: the corpus is isotropic enough" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_few_texts_are_said_to_be_few(tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapt(Request(str(tiny_base), write_beir(tmp_path / "beir"), tmp_path / "out", to_isoscore=TARGET))
    assert "40 documents are few" in caplog.text


def test_what_cannot_be_done_is_one_line_with_its_remedy(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_beir(tmp_path / "beir")
    (tmp_path / "there").mkdir()
    (tmp_path / "one.txt").write_text("a single text\n")
    other = store(tmp_path / "store", tiny_base)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"base": "another"}))
    out = str(tmp_path / "out")
    for arguments, message in [
        ([str(tmp_path / "nowhere"), str(corpus), out], "nowhere"),
        ([str(tiny_base), str(tmp_path / "there"), out], "has no corpus.jsonl: name a folder in BEIR's layout, a file"),
        ([str(tiny_base), str(tmp_path / "nothing.txt"), out], "CORPUS names .*nothing.txt, which does not exist"),
        ([str(tiny_base), str(tmp_path / "one.txt"), out], "needs two or more documents"),
        ([str(tiny_base), str(corpus), str(tmp_path / "there")], "is there already: name another folder"),
        ([str(tiny_base), str(corpus), out, "--qrels", "q.tsv"], "so it needs --queries"),
        ([str(tiny_base), str(other), out], r"holds vectors of another model, or .* \(base\)"),
    ]:
        assert main(["adapt", *arguments]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("error: ")
        assert pd.Series([said]).str.contains(message).all(), said
        assert not Path(out).exists()


def test_stored_vectors_of_an_older_kind_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    (store(tmp_path / "store", tiny_base) / "stand_ins.npy").unlink()
    with pytest.raises(RagcunError, match="no vectors of stand-in queries"):
        adapt(Request(str(tiny_base), tmp_path / "store", tmp_path / "out"))


def test_help_needs_no_library_of_models() -> None:
    program = "import sys, ragcun.cli as c\ntry: c.main(['adapt', '--help'])\nexcept SystemExit: pass\n"
    program += "assert not {'torch', 'sentence_transformers', 'scipy'} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--to-isoscore X" in ran.stdout
