"""A base is loaded in fp32 whatever its file holds; one that does not embed as needed is refused where it is loaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding

from ragcun.core.errors import RagcunError
from ragcun.encode.base import cut_texts_at, load_base, texts_cut_at
from ragcun.encode.encoder import describe, encode
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.sources.models import LocalModel
from ragcun.train.loss import RetrievalLoss
from ragcun.train.trainee import LiveTrainee
from tests.tiny import HIDDEN, MAX_LENGTH, WORDS, save_tiny_base, save_tiny_router, tiny_transformer

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
TEXTS = [" ".join(WORDS[row : row + 3]) for row in range(12)]


def dtypes(folder: Path) -> set[torch.dtype]:
    """Of the weights in a saved model's files."""
    return {tensor.dtype for file in folder.rglob("*.safetensors") for tensor in load_file(file).values()}


@HALF
def test_a_base_in_half_precision_is_loaded_trained_and_saved_in_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    half = save_tiny_base(tmp_path / "half", dtype=dtype)
    assert dtypes(half) == {dtype}, "vacuous"
    base = load_base(str(half), device="cpu")
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=str(half), freeze_base=False, device="cpu")
    set_random_map(encoder.projection)
    for model in (base, encoder):
        assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {torch.float32}
    # Frozen: what the store holds goes through the projection.
    assert np.isfinite(encoder.head().project(encode(base, TEXTS, "query", dtype="float32", batch_tokens=64))).all()
    # Live: a step on texts.
    trainee = LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32")
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-6)
    features = trainee.load(np.arange(12), "query")
    loss = RetrievalLoss(encoder, similarity="dot", temperature=1, isotropy_weight=0, isotropy_directions=1)
    before = encoder.projection[0].linear.weight.clone()
    loss._embed([dict(chunk) for chunk in features.chunks], features.order).square().sum().backward()
    optimizer.step()
    assert 0 < (encoder.projection[0].linear.weight - before).abs().max() < 1e-5
    # Saved, and read back by anyone.
    encoder.save(str(tmp_path / "trained"), create_model_card=False)
    assert dtypes(tmp_path / "trained") == {torch.float32}
    plain = SentenceTransformer(str(tmp_path / "trained"), device="cpu")
    assert plain.config.dtype == torch.float32
    assert np.array_equal(plain.encode(TEXTS), encoder.encode(TEXTS))
    assert np.isfinite(plain.encode(TEXTS)).all()


@HALF
def test_a_half_precision_base_and_its_copy_in_a_trained_model_are_one_base(dtype: torch.dtype, tmp_path: Path) -> None:
    half = save_tiny_base(tmp_path / "half", dtype=dtype)
    base = load_base(str(half), device="cpu")
    encoder = IsotropicGaussianEncoder(base_model=str(half), output_dim=8, device="cpu")
    encoder.save(str(tmp_path / "trained"), create_model_card=False)
    again = IsotropicGaussianEncoder(str(tmp_path / "trained"), device="cpu")
    expected = describe(base, list(base), "float32")
    assert describe(again, list(again.base), "float32") == expected
    # A trained model that its owner stored in half precision is in fp32 again too.
    encoder.to(dtype).save(str(tmp_path / "halved"), create_model_card=False)
    halved = IsotropicGaussianEncoder(str(tmp_path / "halved"), device="cpu")
    assert describe(halved, list(halved.base), "float32") == expected
    assert {parameter.dtype for parameter in halved.parameters()} == {torch.float32}


def test_a_module_in_fp32_after_a_half_precision_transformer_keeps_its_bits(tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(save_tiny_base(tmp_path / "base")), output_dim=8, device="cpu")
    set_random_map(encoder.projection)
    encoder[0].half()
    encoder.save(str(tmp_path / "mixed"), create_model_card=False)
    assert dtypes(tmp_path / "mixed") == {torch.float16, torch.float32}, "vacuous"
    again = IsotropicGaussianEncoder(str(tmp_path / "mixed"), device="cpu")
    assert torch.equal(again.projection[0].linear.weight, encoder.projection[0].linear.weight)


def saved(folder: Path, *modules: torch.nn.Module, similarity: str | None = None) -> Path:
    model = SentenceTransformer(modules=list(modules), similarity_fn_name=similarity, device="cpu")  # type: ignore[arg-type]
    model.save(str(folder), create_model_card=False)
    return folder


def transformer() -> torch.nn.Module:
    return tiny_transformer(seed=0, dropout=0)


def bare(folder: Path) -> Path:
    return saved(folder, transformer())


def bare_normalized(folder: Path) -> Path:
    return saved(folder, transformer(), Normalize())


def manhattan(folder: Path) -> Path:
    return saved(folder, transformer(), Pooling(HIDDEN, "mean"), similarity="manhattan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bare, r"it has no pooling\. Give it .* Pooling\("),
        (bare_normalized, r"it has no pooling\. Give it .* Pooling\("),
        (manhattan, r"compares its vectors by manhattan; .* similarity_fn_name='cosine'"),
    ],
)
def test_a_base_without_pooling_or_with_a_similarity_of_its_own_is_refused_when_fetched_and_when_loaded(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "base")
    with pytest.raises(RagcunError, match=message):
        load_base(str(folder), device="cpu")
    (tmp_path / "target").mkdir()
    with pytest.raises(RagcunError, match=message):
        LocalModel(folder).fetch(target=tmp_path / "target")


def test_what_gives_a_vector_a_text_is_fetched(tmp_path: Path) -> None:
    """Also where it has no module named Pooling."""
    tokenizer = transformer().tokenizer.backend_tokenizer
    makers = {
        "pooled": lambda folder: save_tiny_base(folder),
        "router": lambda folder: save_tiny_router(folder),
        "static": lambda folder: saved(folder, StaticEmbedding(tokenizer, embedding_dim=8)),
    }
    for name, make in makers.items():
        (tmp_path / f"{name} target").mkdir()
        LocalModel(make(tmp_path / name)).fetch(target=tmp_path / f"{name} target")
        load_base(str(tmp_path / f"{name} target"), device="cpu")


def test_a_router_that_does_not_encode_both_roles_alike_is_refused(tmp_path: Path) -> None:
    tower = [transformer(), Pooling(HIDDEN, "mean")]
    questions = saved(tmp_path / "questions", Router({"question": tower}, allow_empty_key=False))
    with pytest.raises(RagcunError, match=r"does not encode a query: No route found for task type 'query'"):
        load_base(str(questions), device="cpu")
    narrow = [StaticEmbedding(transformer().tokenizer.backend_tokenizer, embedding_dim=8)]
    uneven = saved(tmp_path / "uneven", Router.for_query_document(narrow, tower))
    with pytest.raises(RagcunError, match=r"passages have 8 and 32: use a base with one dimension for both"):
        load_base(str(uneven), device="cpu")


def test_a_shorter_cut_holds_for_every_route_and_for_the_block_alone(tmp_path: Path) -> None:
    model = load_base(str(save_tiny_router(tmp_path / "router")), device="cpu")
    towers = [model[0].sub_modules[name][0] for name in ("query", "document")]
    towers[0].max_seq_length = 20
    with texts_cut_at(model, 6):
        assert [tower.max_seq_length for tower in towers] == [6, 6]
    assert [tower.max_seq_length for tower in towers] == [20, MAX_LENGTH]
    with texts_cut_at(model, None):
        assert [tower.max_seq_length for tower in towers] == [20, MAX_LENGTH]
    with pytest.raises(RagcunError, match=f"reads at most {MAX_LENGTH} tokens"):
        cut_texts_at(model, MAX_LENGTH + 1)


def test_a_base_without_a_limit_is_read_whole_and_stays_so(tmp_path: Path) -> None:
    static = StaticEmbedding(transformer().tokenizer.backend_tokenizer, embedding_dim=8)
    model = load_base(str(saved(tmp_path / "static", static)), device="cpu")
    with texts_cut_at(model, None):
        assert model.max_seq_length == float("inf")
    with pytest.raises(RagcunError, match="max_length does not apply"):
        cut_texts_at(model, 6)
