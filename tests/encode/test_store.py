"""Embeddings are the model's own vectors in the texts' order, no text is encoded twice, and a folder is whole or absent."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import normalizers
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.encode.encoder import TextEncoder, describe
from ragcun.encode.store import (
    MADE_BY,
    MANIFEST,
    Texts,
    _reserve,
    read_embeddings,
    scratch_folder,
    shared_array,
    shared_folder,
    write_embeddings,
)
from ragcun.encode.vector_cache import RowCache
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.params import Role
from stages.launch import run_stage
from tests.encoding import PROMPTS, counted, encoded_rows, load, some_texts, text_encoder
from tests.processes import run_in_processes
from tests.tiny import HIDDEN, save_tiny_base, save_tiny_router


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The vectors


def test_vectors_are_the_models_own_in_the_texts_order(tiny_base: Path, tmp_path: Path) -> None:
    passages, queries = some_texts(150), some_texts(9, seed=1)
    assert passages != sorted(passages, key=len, reverse=True), "texts in the order of encoding would prove nothing"
    model = load(tiny_base)
    lists = {"corpus": Texts.of(passages, "passage"), "queries": Texts.of(queries, "query")}
    write_embeddings(tmp_path / "e", text_encoder(model), lists)
    arrays = read_embeddings(tmp_path / "e").arrays
    assert arrays.keys() == lists.keys()
    expected = model.encode(passages)
    distances = np.linalg.norm(expected[:, None] - expected[None], axis=2)
    assert distances[~np.eye(len(passages), dtype=bool)].min() > 1e-4, "texts with one vector could change places"
    np.testing.assert_allclose(arrays["corpus"], expected, atol=1e-6)
    np.testing.assert_allclose(arrays["queries"], model.encode(queries), atol=1e-6)


def test_arrays_are_memory_mapped_single_precision_and_read_only(tiny_base: Path, tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", text_encoder(load(tiny_base)), {"texts": Texts.of(some_texts(3), "passage")})
    (array,) = read_embeddings(tmp_path / "e").arrays.values()
    assert isinstance(array, np.memmap)
    assert (array.dtype, array.shape) == (np.float32, (3, HIDDEN))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_each_role_has_its_prompt(tmp_path: Path) -> None:
    plain = load(save_tiny_base(tmp_path / "plain"))
    prompted = load(save_tiny_base(tmp_path / "prompted", prompts=PROMPTS))
    texts = some_texts(12)
    roles: list[Role] = ["query", "passage", "passage"] * 4
    write_embeddings(tmp_path / "e", text_encoder(prompted), {"texts": Texts(texts, roles)})
    prompts = {"query": PROMPTS["query"], "passage": PROMPTS["document"]}
    expected = plain.encode([prompts[role] + text for text, role in zip(texts, roles, strict=True)])
    found = read_embeddings(tmp_path / "e").arrays["texts"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - plain.encode(texts)).max(axis=1).min() > 1e-3, "the prompts change nothing"


def test_reading_searching_and_measuring_vectors_loads_no_library_of_models() -> None:
    """It takes ten seconds."""
    rooms = "encode.store, ragcun.measure.isotropy, ragcun.measure.ranking, ragcun.model.whitening, ragcun.search.exact"
    code = (
        f"import sys, ragcun.{rooms}; sys.exit(bool({{'transformers', 'sentence_transformers'}} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Nothing is encoded twice


def test_a_second_run_encodes_nothing_and_writes_the_same_files(tiny_base: Path, tmp_path: Path) -> None:
    lists = {"corpus": Texts.of(some_texts(70), "passage"), "queries": Texts.of(some_texts(5, seed=1), "query")}
    assert encoded_rows(tmp_path / "first", text_encoder(load(tiny_base)), lists) == 75
    # Another process, another place on disk: the vectors are the same.
    shutil.copytree(tiny_base, tmp_path / "copy")
    assert encoded_rows(tmp_path / "second", text_encoder(load(tmp_path / "copy")), lists) == 0
    for name in ("corpus.npy", "queries.npy", MANIFEST):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_benchmarks_that_share_a_corpus_encode_it_once(tiny_base: Path, tmp_path: Path) -> None:
    encoder, texts = text_encoder(load(tiny_base)), some_texts(100)
    assert encoded_rows(tmp_path / "a", encoder, {"corpus": Texts.of(texts[:80], "passage")}) == 80
    assert encoded_rows(tmp_path / "b", encoder, {"corpus": Texts.of(texts[::-1], "passage")}) == 20
    a, b = (read_embeddings(tmp_path / name).arrays["corpus"] for name in ("a", "b"))
    assert np.array_equal(b[::-1][:80], a)


def test_a_text_that_occurs_twice_is_encoded_once(tiny_base: Path, tmp_path: Path) -> None:
    texts = some_texts(5) * 3
    assert encoded_rows(tmp_path / "e", text_encoder(load(tiny_base)), {"corpus": Texts.of(texts, "passage")}) == 5
    array = read_embeddings(tmp_path / "e").arrays["corpus"]
    assert np.array_equal(array[:5], array[5:10])
    assert np.array_equal(array[:5], array[10:])


def test_an_interrupted_run_goes_on_where_it_was(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {"corpus": Texts.of(some_texts(200), "passage")}
    model = load(tiny_base)
    batches = TextEncoder.batches

    def two_batches(encoder: TextEncoder, texts: list[str], role: Role) -> Iterator[tuple[list[int], np.ndarray]]:
        yield from itertools.islice(batches(encoder, texts, role), 2)
        if texts:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "batches", two_batches)
        with counted() as rows, pytest.raises(KeyboardInterrupt):
            write_embeddings(tmp_path / "e", text_encoder(model), lists)
    assert 0 < sum(rows) < 200
    assert encoded_rows(tmp_path / "e", text_encoder(model), lists) == 200 - sum(rows)
    np.testing.assert_allclose(
        read_embeddings(tmp_path / "e").arrays["corpus"], model.encode(list(lists["corpus"].texts)), atol=1e-6
    )


def _same(model: SentenceTransformer) -> TextEncoder:
    return text_encoder(model)


def _weight(model: SentenceTransformer) -> TextEncoder:
    with torch.no_grad():
        next(model.parameters()).view(-1)[7] += 1e-6
    return text_encoder(model)


def _query_prompt(model: SentenceTransformer) -> TextEncoder:
    model.prompts["query"] = "what is "
    return text_encoder(model)


def _max_length(model: SentenceTransformer) -> TextEncoder:
    return text_encoder(model, max_length=40)


def _dtype(model: SentenceTransformer) -> TextEncoder:
    return text_encoder(model, dtype="bfloat16")


def _batch_tokens(model: SentenceTransformer) -> TextEncoder:
    return text_encoder(model, batch_tokens=256)


def _tokenizer(model: SentenceTransformer) -> TextEncoder:
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return text_encoder(model)


def _pooling(model: SentenceTransformer) -> TextEncoder:
    model[1].pooling_mode = "cls"
    return text_encoder(model)


@pytest.mark.parametrize(
    ("change", "expected"),
    [(_same, 0)] + [(c, 6) for c in (_weight, _query_prompt, _max_length, _dtype, _batch_tokens, _tokenizer, _pooling)],
)
def test_whatever_decides_a_vector_misses_the_cache_when_it_changes(
    change: Callable[[SentenceTransformer], TextEncoder], expected: int, tiny_base: Path, tmp_path: Path
) -> None:
    lists = {"queries": Texts.of(some_texts(6), "query")}
    assert encoded_rows(tmp_path / "before", text_encoder(load(tiny_base)), lists) == 6
    assert encoded_rows(tmp_path / "after", change(load(tiny_base)), lists) == expected


def test_a_row_of_another_length_is_not_taken(tiny_base: Path, tmp_path: Path, row_cache_folder: Path) -> None:
    encoder, text = text_encoder(load(tiny_base)), "river"
    cache = RowCache(row_cache_folder)
    cache.put({encoder.key(text, "query"): np.zeros(HIDDEN - 1, dtype=np.float32)})
    cache.close()
    assert encoded_rows(tmp_path / "e", encoder, {"queries": Texts.of([text], "query")}) == 1


def test_without_a_usable_cache_the_vectors_are_the_same(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "file"))
    model, texts = load(tiny_base), some_texts(10)
    assert encoded_rows(tmp_path / "e", text_encoder(model), {"corpus": Texts.of(texts, "passage")}) == 10
    assert "row cache" in caplog.text
    np.testing.assert_allclose(read_embeddings(tmp_path / "e").arrays["corpus"], model.encode(texts), atol=1e-6)


# The manifest


@pytest.mark.parametrize("prompts", [None, PROMPTS])
def test_the_base_inside_a_saved_model_is_known_to_be_the_base(prompts: dict[str, str] | None, tmp_path: Path) -> None:
    base = load(save_tiny_base(tmp_path / "base", prompts=prompts))
    expected = describe(base, list(base), "float32")
    write_embeddings(tmp_path / "e", text_encoder(base), {"texts": Texts.of(some_texts(2), "passage")})
    assert read_embeddings(tmp_path / "e").description == expected, "the JSON says something else"
    made_by = read_embeddings(tmp_path / "e").manifest[MADE_BY]
    assert made_by["engine"] == f"torch {torch.__version__.split('+')[0]}"
    assert made_by["device"].startswith("cpu ")
    assert made_by["batch_tokens"] == 64

    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(base_model=str(tmp_path / "base"), output_dim=8, dropout=0.1, device="cpu")
    set_random_map(encoder.projection)
    assert describe(encoder, list(encoder.base), "float32") == expected
    encoder.save(str(tmp_path / "trained"))
    reloaded = IsotropicGaussianEncoder(str(tmp_path / "trained"), device="cpu")
    assert describe(reloaded, list(reloaded.base), "float32") == expected

    reloaded.save(str(tmp_path / "again"))
    again = IsotropicGaussianEncoder(str(tmp_path / "again"), device="cpu")
    assert describe(again, list(again.base), "float32") == expected


# Bases with a Router


def test_each_role_takes_its_route(tmp_path: Path) -> None:
    base = save_tiny_router(tmp_path / "router")
    texts = some_texts(8)
    roles: list[Role] = ["query", "passage"] * 4
    write_embeddings(tmp_path / "e", text_encoder(load(base)), {"texts": Texts(texts, roles)})
    found, model = read_embeddings(tmp_path / "e").arrays["texts"], load(base)
    queries, passages = model.encode_query(texts), model.encode_document(texts)
    assert np.abs(queries - passages).max(axis=1).min() > 1e-2, "one route would do"
    np.testing.assert_allclose(found[::2], queries[::2], atol=1e-6)
    np.testing.assert_allclose(found[1::2], passages[1::2], atol=1e-6)


# Whole or absent


def poison(model: SentenceTransformer) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def test_a_vector_that_is_not_finite_is_an_error_and_leaves_nothing(tiny_base: Path, tmp_path: Path) -> None:
    model = load(tiny_base)
    poison(model)
    lists = {"corpus": Texts.of(["river water"], "passage")}
    for _ in range(2):
        # The second time too: the vector did not enter the cache.
        with pytest.raises(RagcunError, match=r"not finite for the text 'river water'.*float32"):
            write_embeddings(tmp_path / "out" / "e", text_encoder(model), lists)
        assert names_in(tmp_path / "out") == set()


def test_a_failing_block_keeps_the_former_folder_and_leaves_no_partial_one(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "former").touch()

    def fail() -> None:
        with shared_folder(tmp_path / "e") as partial:
            (partial / "new").touch()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names_in(tmp_path) == {"e"}
    assert names_in(tmp_path / "e") == {"former"}


def test_a_finished_folder_replaces_the_former_and_takes_nothing_from_a_killed_run(tmp_path: Path) -> None:
    for name in ("e", ".e.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "former").touch()
    with shared_folder(tmp_path / "e") as partial:
        assert partial.parent == tmp_path, "a rename is atomic only within one file system"
        assert names_in(partial) == set()
        (partial / "new").touch()
        assert names_in(tmp_path / "e") == {"former"}, "published before it was whole"
    assert names_in(tmp_path) == {"e"}
    assert names_in(tmp_path / "e") == {"new"}


# Several processes


def _embed_then_fail(base: str, folder: str, lists: dict[str, Any]) -> None:
    model = load(Path(base))
    write_embeddings(Path(folder, "whole"), text_encoder(model), {name: Texts(*value) for name, value in lists.items()})
    if distributed.rank() == 1:
        poison(model)
    fresh = {"texts": Texts.of(some_texts(20, seed=5), "passage")}
    run_stage(lambda: write_embeddings(Path(folder, "broken"), text_encoder(model), fresh))


def test_two_processes_write_what_one_does_and_nothing_where_one_fails(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = {"corpus": some_texts(131), "queries": some_texts(1, seed=1)}
    lists = {"corpus": (texts["corpus"], ["passage"] * 131), "queries": (texts["queries"], ["query"])}
    (tmp_path / "out").mkdir()
    # Whichever of the two ends first: the one that fails, or the one that it leaves waiting.
    with pytest.raises((ProcessExitedException, ProcessRaisedException)):
        run_in_processes(_embed_then_fail, 2, str(tiny_base), str(tmp_path / "out"), lists)
    assert "error: the base model gives a vector that is not finite" in capfd.readouterr().err
    assert names_in(tmp_path / "out") == {"whole"}

    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "another cache"))
    model = load(tiny_base)
    alone = {"corpus": Texts.of(texts["corpus"], "passage"), "queries": Texts.of(texts["queries"], "query")}
    assert encoded_rows(tmp_path / "alone", text_encoder(model), alone) == 132
    one, two = read_embeddings(tmp_path / "alone"), read_embeddings(tmp_path / "out" / "whole")
    assert one.manifest == two.manifest
    assert one.arrays.keys() == two.arrays.keys()
    for name in one.arrays:
        assert np.array_equal(one.arrays[name], two.arrays[name])


def test_a_disk_without_room_for_the_rows_is_an_error_before_the_first_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="no space left"), shared_array(tmp_path / "rows.npy", (4, 2)):
        pytest.fail("nothing may be written")


def test_scratch_lies_in_the_cache_that_nodes_share_and_what_a_killed_run_left_goes(row_cache_folder: Path) -> None:
    left, under_way = (row_cache_folder / "scratch" / name for name in ("left", "under way"))
    for folder, days in ((left, 8), (under_way, 6)):
        folder.mkdir(parents=True)
        (folder / "corpus.npy").touch()
        os.utime(folder, times=(time.time() - days * 24 * 3600,) * 2)
    with scratch_folder() as first, scratch_folder() as second:
        assert names_in(row_cache_folder / "scratch") == {first.name, second.name, under_way.name}
        assert first != second
    assert names_in(row_cache_folder / "scratch") == {under_way.name}


def _write_scratch() -> tuple[str, list[float]]:
    with scratch_folder() as scratch, shared_array(scratch / "rows.npy", (2, 1)) as rows:
        rows[distributed.rank()] = 1 + distributed.rank()
        rows.flush()
        distributed.barrier()
        return str(scratch), np.load(scratch / "rows.npy")[:, 0].tolist()


def test_ranks_share_one_scratch_folder(row_cache_folder: Path) -> None:
    (scratch, rows), other = run_in_processes(_write_scratch, 2)
    assert other == (scratch, rows)
    assert rows == [1, 2]
    assert Path(scratch).parent == row_cache_folder / "scratch"
    assert names_in(Path(scratch).parent) == set()


def test_each_rank_reserves_its_part_of_a_shared_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.npy").write_bytes(b"0" * 1001)
    reserved: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, offset, length: reserved.append((offset, length)))
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        _reserve(tmp_path / "rows.npy")
    assert reserved == [(0, 333), (333, 334), (667, 334)]
