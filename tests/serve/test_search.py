"""`ragcun search`: from every form of a corpus to ranked documents with a snippet, an index that is used again, and refusals."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ragcun.cli import main
from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import write_benchmark
from ragcun.encode.encoder import TextEncoder
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.serve import query_model
from ragcun.serve.search import Request, Searcher, fuse
from ragcun.serve.search_index import Form, open_vectors
from ragcun.serve.snippets import best_by_vectors, best_by_words, sentences, shortened
from tests.tiny import tiny_benchmark

TINY = tiny_benchmark()
QUERY = "what is star orbit"


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch in float32: OpenVINO's cases have a process of their own."""
    monkeypatch.setattr(query_model, "CORPUS", {"engine": "torch", "dtype": "float32", "batch_tokens": 4096})


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    write_benchmark(TINY, tmp_path / "beir")
    return tmp_path / "beir"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the encoder encodes."""
    counts: list[int] = []
    encode, batches = query_model.encode, TextEncoder.batches

    def counted(model: Any, texts: Any, role: Any, **settings: Any) -> np.ndarray:
        counts.append(len(texts) if role == "passage" else 0)
        return encode(model, texts, role, **settings)

    def counted_batches(self: TextEncoder, texts: Any, role: Any) -> Iterator[tuple[list[int], np.ndarray]]:
        counts.append(len(texts) if role == "passage" else 0)
        return batches(self, texts, role)

    monkeypatch.setattr(query_model, "encode", counted)
    monkeypatch.setattr(TextEncoder, "batches", counted_batches)
    return counts


def order(model: Path, dims: int | None = None, similarity: str = "cosine") -> list[str]:
    """The ids of all documents, best first, by sentence-transformers alone."""
    plain = SentenceTransformer(str(model), device="cpu", truncate_dim=dims)
    query, documents = plain.encode_query(QUERY), plain.encode_document(list(TINY.doc_texts))
    if similarity == "cosine":
        documents = documents / np.linalg.norm(documents, axis=1, keepdims=True)
    scores = -np.linalg.norm(documents - query, axis=1) if similarity == "euclidean" else documents @ query
    return [TINY.doc_ids[row] for row in np.argsort(-scores)]


def ids(request: Request) -> list[str]:
    return [result.id for result in Searcher(request).find(QUERY)]


def test_ranks_are_the_models_and_the_index_is_used_again(tiny_base: Path, beir: Path, encoded: list[int]) -> None:
    request = Request(str(tiny_base), beir, top=24)
    assert ids(request) == order(tiny_base)
    assert sum(encoded) >= 24, "the documents, and sentences for the snippets"
    encoded.clear()
    assert ids(replace(request, top=1)) == order(tiny_base)[:1]
    assert sum(encoded) == 1, "the sentence of the one result alone"


def test_a_model_with_a_projection(tiny_base: Path, beir: Path, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=12, similarity="cosine", device="cpu")
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    assert order(tmp_path / "model") != order(tiny_base)
    assert ids(Request(str(tmp_path / "model"), beir, top=24)) == order(tmp_path / "model")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_dims_and_int8(tiny_base: Path, beir: Path, tmp_path: Path, similarity: Any) -> None:
    model = SentenceTransformer(str(tiny_base), device="cpu", similarity_fn_name=similarity)
    model.save(str(tmp_path / "model"), create_model_card=False)
    request = Request(str(tmp_path / "model"), beir, tmp_path / "index", dims=16, top=24)
    plain, small = Searcher(request), Searcher(replace(request, int8=True))
    assert [result.id for result in plain.find(QUERY)] == order(tmp_path / "model", 16, similarity)
    bytes_of = [searcher._vectors.rows.nbytes for searcher in (plain, small)]
    assert bytes_of == [24 * 16 * 4, 24 * 16]
    exact = {result.id: result.score for result in plain.find(QUERY)}
    rounded = {result.id: result.score for result in small.find(QUERY)}
    assert max(abs(exact[each] - rounded[each]) for each in exact) < 0.02
    assert ids(replace(request, dims=None)) == order(tmp_path / "model", None, similarity), (
        "another form, another index"
    )


def test_every_form_of_a_corpus(tiny_base: Path, beir: Path, tmp_path: Path) -> None:
    """The forms that adapt reads, and a folder of files, whose ids are their paths."""
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.txt").write_text("The river. The boat on the river.")
    (folder / "deep/b.md").write_text("# Stars\n\nThe moon and the orbit.")
    (folder / "c.pdf").write_text("no text")
    (folder / ".hidden/d.txt").write_text("hidden")
    (folder / "e.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "f.txt").write_text(" \n")
    results = Searcher(Request("no-model", folder, ranking="bm25")).find("moon boat")
    assert [(each.id, each.title) for each in results] == [("a.txt", "a"), ("deep/b.md", "Stars")]
    assert results[0].snippet == "The boat on the river."
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TINY.doc_texts))
    by_line = [str(TINY.doc_ids.index(each) + 1) for each in order(tiny_base)]
    assert ids(Request(str(tiny_base), lines, top=24)) == by_line


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda file: file.write_text(file.read_text().replace("the", "an old")), True),
        (lambda file: os.utime(file, (1, 1)), False),
    ],
)
def test_only_another_content_is_indexed_again(
    tiny_base: Path, beir: Path, encoded: list[int], change: Callable[[Path], Any], again: bool
) -> None:
    request = Request(str(tiny_base), beir, top=1)
    Searcher(request)
    encoded.clear()
    change(beir / "corpus.jsonl")
    Searcher(request)
    assert (sum(encoded) > 0) == again


def test_an_added_file_and_another_model_are_indexed_again(
    tiny_base: Path, beir: Path, tmp_path: Path, encoded: list[int]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("the river")
    request = Request(str(tiny_base), tmp_path / "notes", top=1)
    Searcher(request)
    (tmp_path / "notes/b.txt").write_text("the star")
    encoded.clear()
    assert len(Searcher(request).documents) == 2
    assert sum(encoded) == 1, "the row cache has the other"
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=12, device="cpu")
    encoder.save_finished(tmp_path / "model")
    before = Searcher(replace(request, model=str(tmp_path / "model"))).find("river")
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    after = Searcher(replace(request, model=str(tmp_path / "model"))).find("river")
    assert before[0].score != after[0].score, "the same path, another model"


def test_bm25_loads_no_model(beir: Path) -> None:
    program = (
        "import sys, ragcun.cli as c\nassert c.main(['search', 'none', sys.argv[1], 'star orbit', '--bm25']) == 0\n"
    )
    program += "assert not {'sentence_transformers', 'transformers'} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program, str(beir)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("  1  ")


def test_fuse_sums_reciprocal_ranks(tiny_base: Path, beir: Path) -> None:
    assert fuse([[(7, 9.0), (8, 1.0)], [(8, 0.5), (9, 0.1)]]) == [
        (8, pytest.approx(1 / 62 + 1 / 61)),
        (7, pytest.approx(1 / 61)),
        (9, pytest.approx(1 / 62)),
    ]
    lexical = ids(Request("none", beir, ranking="bm25", top=24))
    dense = order(tiny_base)
    fused = Searcher(Request(str(tiny_base), beir, ranking="fuse", top=24)).find(QUERY)
    for each in fused:
        ranks = [ranking.index(each.id) + 1 for ranking in (dense, lexical) if each.id in ranking]
        assert each.score == pytest.approx(sum(1 / (60 + rank) for rank in ranks))


def test_equal_documents_come_in_the_order_of_the_corpus(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "same.txt").write_text("the river\n" * 12)
    for ranking in ("dense", "bm25", "fuse"):
        request = Request(str(tiny_base), tmp_path / "same.txt", ranking=ranking)  # type: ignore[arg-type]
        assert [each.id for each in Searcher(request).find("river")] == [str(row) for row in range(1, 11)]


def test_snippets() -> None:
    assert sentences("One. Two?\nthree 3.5 e.g. this") == ["One.", "Two?", "three 3.5 e.g. this"]
    assert sentences(" \n") == [""]
    vectors = [np.array([[2.0, 0], [0.1, 0.1]]), np.array([[0.0, 1]])]
    assert best_by_vectors(np.array([1.0, 1.0]), vectors) == [1, 0], "the length of a sentence's vector does not count"
    assert best_by_words("boat", [["a river", "boats"], ["a star", "a king"]]) == [1, 0]
    assert best_by_words("boat", [["1", "2"]]) == [0], "nothing that BM25 can index"
    assert len(shortened("x" * 400)) == 300


def test_queries_are_read_in_turn_and_json_is_a_line_each(
    tiny_base: Path, beir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUERY}\n\nking crown\n"))
    assert main(["search", str(tiny_base), str(beir), "--json", "--top", "2"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["query"] for each in told] == [QUERY, "king crown"]
    first = told[0]["results"][0]
    assert (first["rank"], first["id"]) == (1, order(tiny_base)[0])
    assert first.keys() == {"rank", "id", "score", "title", "snippet"}
    assert main(["search", str(tiny_base), str(beir), QUERY, "--top", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"  1  {first['score']:.4f}  {first['title'] or first['id']}"
    assert printed[1] == f"     {first['snippet']}"
    assert len(printed) == 4


def test_what_cannot_be_searched_is_one_line_with_its_remedy(
    tiny_base: Path, beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoded: list[int]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([str(tmp_path / "nowhere"), str(beir), "q"], "nowhere does not exist"),
        (["tests/nowhere", str(beir), "q"], "tests/nowhere does not exist: tests is a folder here"),
        ([str(tiny_base), str(tmp_path / "no.txt"), "q"], "which does not exist"),
        ([str(tiny_base), str(tmp_path / "empty"), "q"], "a folder of .txt and .md files"),
        ([str(tiny_base), str(beir), "q", "--dims", "99"], "--dims 99: the model's vectors have 32 dimensions"),
        ([str(tiny_base), str(beir), " "], "the query is empty"),
    ]:
        assert main(["search", *arguments]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("error: ")
        assert message in said
        assert "--dims" not in arguments or not encoded, "a wrong --dims is found before the corpus is encoded"
    for wrong in (["--top", "0"], ["--bm25", "--fuse"]):
        with pytest.raises(SystemExit):
            main(["search", str(tiny_base), str(beir), "q", *wrong])


def test_an_index_that_was_cut_short_is_made_again(beir: Path, tmp_path: Path) -> None:
    searcher = Searcher(Request("none", beir, tmp_path / "index", ranking="bm25"))
    made = np.ones((24, 2), dtype=np.float32)

    def fail() -> np.ndarray:
        raise RagcunError("stopped")

    with pytest.raises(RagcunError, match="stopped"):
        open_vectors(searcher.documents, tmp_path / "index", {}, Form("cosine"), fail)
    assert (
        open_vectors(searcher.documents, tmp_path / "index", {}, Form("cosine"), lambda: made).rows.tolist()
        == made.tolist()
    )
    assert open_vectors(searcher.documents, tmp_path / "index", {}, Form("cosine"), fail).scale == 1.0
