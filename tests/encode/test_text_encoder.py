"""Whatever decides a text's vector is in the encoder's fingerprint and in the row cache's key, and nothing else is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from ragcun.encode.encoder import describe, fingerprint
from ragcun.model.encoder import IsotropicGaussianEncoder
from tests.encoding import load, some_texts, text_encoder
from tests.tiny import save_tiny_router


def test_texts_are_cut_at_max_length(tiny_base: Path) -> None:
    long, cut = "river boat fish star moon", "river boat"
    # Two of the four tokens are [CLS] and [SEP].
    vectors = text_encoder(load(tiny_base), max_length=4).encode([long, cut], "passage")
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    uncut = text_encoder(load(tiny_base)).encode([long, cut], "passage")
    assert np.abs(uncut[0] - uncut[1]).max() > 1e-2


def test_bfloat16_is_close_to_float32_but_not_the_same(tiny_base: Path) -> None:
    texts = some_texts(20)
    exact, rough = (
        text_encoder(load(tiny_base), dtype=dtype).encode(texts, "passage") for dtype in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert 1e-5 < np.abs(exact - rough).max() < 0.05


def test_the_transformers_config_decides_a_vector(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_norm_eps": 0.5}))
    one, other = load(tiny_base), load(tmp_path / "other")
    assert np.abs(one.encode("river") - other.encode("river")).max() > 1e-3, "vacuous"
    assert fingerprint(one, list(one)) != fingerprint(other, list(other))


def test_how_a_config_says_the_storage_of_its_parts_decides_nothing(tiny_base: Path) -> None:
    model = load(tiny_base)
    before = fingerprint(model, list(model))
    model.config.text_config = {"dtype": "float16", "_name_or_path": "elsewhere"}
    stored = fingerprint(model, list(model))
    model.config.text_config = {"dtype": "float32", "_name_or_path": "here"}
    assert fingerprint(model, list(model)) == stored != before


def test_the_default_prompt_decides_a_vector(tiny_base: Path) -> None:
    """Where a model has no prompt for a role."""
    models = [load(tiny_base) for _ in range(2)]
    for model, default in zip(models, (None, "instruction"), strict=True):
        model.prompts.clear()
        model.prompts["instruction"] = "what is "
        model.default_prompt_name = default
    one, other = (text_encoder(model) for model in models)
    assert np.abs(one.encode(["river"], "query") - other.encode(["river"], "query")).max() > 1e-3, "vacuous"
    assert one.description != other.description
    assert one.key("river", "query") != other.key("river", "query")


def test_a_text_as_a_query_is_not_taken_for_the_text_as_a_passage(tiny_base: Path) -> None:
    encoder = text_encoder(load(tiny_base))
    keys = {encoder.key(text, role) for text in ("a", "b") for role in ("query", "passage")}
    assert len(keys) == 4
    # A broken surrogate has a key too.
    encoder.key("\ud800", "query")


def test_encoding_leaves_the_fingerprint_as_it_is(tiny_base: Path) -> None:
    model = load(tiny_base)
    before, state = fingerprint(model, list(model)), model.tokenizer.backend_tokenizer.to_str()
    model.encode(["river", "star moon " * 50])
    model.tokenizer(["river"], padding="max_length", max_length=7, truncation=True)
    assert model.tokenizer.backend_tokenizer.to_str() != state, "the calls leave nothing behind"
    assert fingerprint(model, list(model)) == before


def test_training_mode_and_precision_of_storage(tiny_base: Path) -> None:
    model = load(tiny_base)
    before = fingerprint(model, list(model))
    assert fingerprint(model.train(), list(model)) == before
    assert fingerprint(model.half(), list(model)) != before


@pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "layer.1.output.dense.bias"])
def test_a_base_that_was_trained_is_another_base(name: str, tiny_base: Path, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), freeze_base=False, device="cpu")
    before = fingerprint(encoder, list(encoder.base))
    (weight,) = [value for key, value in encoder.named_parameters() if key.endswith(name)]
    with torch.no_grad():
        weight.view(-1)[-1] += 1e-6
    encoder.save(str(tmp_path / "trained"))
    reloaded = IsotropicGaussianEncoder(str(tmp_path / "trained"), device="cpu")
    assert fingerprint(reloaded, list(reloaded.base)) == fingerprint(encoder, list(encoder.base)) != before


def test_the_order_of_a_vocabulary_counts(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "swapped")
    path = tmp_path / "swapped" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["river"], vocabulary["star"] = vocabulary["star"], vocabulary["river"]
    path.write_text(json.dumps(content), encoding="utf-8")
    one, other = load(tiny_base), load(tmp_path / "swapped")
    assert fingerprint(one, list(one)) != fingerprint(other, list(other))


def test_the_tokenizer_of_a_static_model_counts() -> None:
    def static_model(*, lowercase: bool) -> SentenceTransformer:
        tokenizer = Tokenizer(models.WordLevel({"river": 0, "[UNK]": 1}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        if lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        weights = np.eye(2, dtype=np.float32)
        return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")

    same, again, other = (static_model(lowercase=lowercase) for lowercase in (False, False, True))
    assert np.abs(same.encode("River") - other.encode("River")).max() > 0
    assert fingerprint(same, list(same)) == fingerprint(again, list(again))
    assert fingerprint(same, list(same)) != fingerprint(other, list(other))


def test_the_router_inside_a_saved_model_is_known_to_be_the_base(tmp_path: Path) -> None:
    base = load(save_tiny_router(tmp_path / "router"))
    expected = json.loads(json.dumps(describe(base, list(base), "float32")))
    encoder = IsotropicGaussianEncoder(base_model=str(tmp_path / "router"), output_dim=8, device="cpu")
    encoder.save(str(tmp_path / "trained"))
    reloaded = IsotropicGaussianEncoder(str(tmp_path / "trained"), device="cpu")
    assert describe(reloaded, list(reloaded.base), "float32") == expected
    plain, texts = load(tmp_path / "trained"), some_texts(5)
    for mine, theirs in ((encoder.encode_query, plain.encode_query), (encoder.encode_document, plain.encode_document)):
        np.testing.assert_allclose(mine(texts), theirs(texts), atol=1e-6)


def _route_pooling(router: Router) -> None:
    router.sub_modules["query"][1].pooling_mode = "cls"


def _route_weight(router: Router) -> None:
    with torch.no_grad():
        next(router.sub_modules["document"].parameters()).view(-1)[7] += 1e-6


def _route_length(router: Router) -> None:
    router.sub_modules["query"][0].max_seq_length = 9


def _route_config(router: Router) -> None:
    router.sub_modules["document"][0].model.config.layer_norm_eps = 0.5


def _route_tokenizer(router: Router) -> None:
    router.sub_modules["document"][0].tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def _route_mapping(router: Router) -> None:
    router.route_mappings = {("query", "text"): "document"}


def _default_route(router: Router) -> None:
    router.default_route = "query"


def _swapped(router: Router) -> None:
    towers = router.sub_modules
    towers["query"], towers["document"] = towers["document"], towers["query"]


CHANGES_OF_A_ROUTE = (
    _route_pooling,
    _route_weight,
    _route_length,
    _route_config,
    _route_tokenizer,
    _route_mapping,
    _default_route,
    _swapped,
)


def test_routers_that_differ_in_anything_have_keys_of_their_own(tmp_path: Path) -> None:
    base = save_tiny_router(tmp_path / "router")
    keys = {text_encoder(load(base)).key("river", "query")}
    assert text_encoder(load(base)).key("river", "query") in keys
    for change in CHANGES_OF_A_ROUTE:
        model = load(base)
        change(model[0])
        keys.add(text_encoder(model).key("river", "query"))
    assert len(keys) == 1 + len(CHANGES_OF_A_ROUTE)
