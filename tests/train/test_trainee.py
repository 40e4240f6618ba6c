"""The two shapes of a model train alike; chunks by length change nothing; prompts are those of encoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from ragcun.encode.base import texts_cut_at
from ragcun.encode.encoder import encode
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.train.learning_rates import parameter_groups
from ragcun.train.loss import RetrievalLoss
from ragcun.train.run import fit
from ragcun.train.trainee import FrozenTrainee, LiveTrainee, Trainee, fast_attention
from ragcun.train.trainer import Trainer, TrainingResult
from tests.invariants import Invariant, deciding, difference, relative
from tests.processes import run_in_processes
from tests.small_run import SETTINGS, TEXTS, paces, pairs, recipe, scores_that_rise
from tests.tiny import HIDDEN, save_tiny_base, save_tiny_router, tiny_transformer


def run(
    trainee: Trainee, work: Path, monkeypatch: pytest.MonkeyPatch, **rates: float
) -> tuple[TrainingResult, list[float]]:
    """The run's result, and the loss of every step."""
    losses: list[float] = []
    compute = Trainer.compute_loss

    def noting(self: Trainer, *args: object, **kwargs: object) -> torch.Tensor:
        loss: torch.Tensor = compute(self, *args, **kwargs)  # type: ignore[arg-type]
        losses.append(loss.item())
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "compute_loss", noting)
        result = fit(trainee, pairs(), recipe(SETTINGS, paces(**rates)), similarity="cosine", seed=3, work=work)
    return result, losses


def prompted(tmp_path: Path) -> Path:
    return save_tiny_base(tmp_path / "base", prompts={"query": "which ", "document": "passage "})


def routed(tmp_path: Path) -> Path:
    return save_tiny_router(tmp_path / "base")


def routed_later(tmp_path: Path) -> Path:
    """One transformer, and a pooling for each role."""
    router = Router.for_query_document([Pooling(HIDDEN, "mean")], [Pooling(HIDDEN, "cls")], default_route=None)
    modules = [tiny_transformer(seed=0, dropout=0.1), router]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "base"), create_model_card=False)
    return tmp_path / "base"


BASES = pytest.mark.parametrize("base_of", [prompted, routed])


@pytest.mark.engine
@BASES
def test_frozen_training_from_the_store_is_frozen_training_live(
    base_of: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invariant: Invariant
) -> None:
    base = base_of(tmp_path)
    encoders = [IsotropicGaussianEncoder(output_dim=16, base_model=str(base), device="cpu") for _ in range(2)]
    roles = pairs().texts["role"]
    store = np.zeros((60, 32), dtype=np.float32)
    plain = IsotropicGaussianEncoder(output_dim=None, base_model=str(base), device="cpu")
    for role in ("query", "passage"):
        rows = np.flatnonzero(roles == role)
        store[rows] = encode(plain, [TEXTS[row] for row in rows], role, dtype="float32", batch_tokens=128)  # type: ignore[arg-type]
    stored, from_store = run(FrozenTrainee(encoders[0], store), tmp_path / "a", monkeypatch, projection=3e-3)
    live = LiveTrainee(encoders[1], TEXTS, chunk=4, dtype="float32")
    lived, from_texts = run(live, tmp_path / "b", monkeypatch, projection=3e-3)
    assert len(from_store) == 8
    invariant("losses, from the store or live", max(map(relative, from_store, from_texts)), 1e-4)
    assert stored.curve["dev_ndcg@10"].tolist() == pytest.approx(lived.curve["dev_ndcg@10"].tolist(), abs=1e-6)
    for one, other in zip(encoders[0].parameters(), encoders[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("base_of", [prompted, routed, routed_later])
def test_features_in_chunks_by_length_are_the_texts_in_order(base_of: Callable[[Path], Path], tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(output_dim=None, base_model=str(base_of(tmp_path)), device="cpu").eval()
    ids = np.array([6, 0, 29, 3, 13, 1, 20])
    loss = RetrievalLoss(encoder, similarity="dot", temperature=1, isotropy_weight=0, isotropy_directions=1)
    for role in ("query", "passage"):
        trainee = LiveTrainee(encoder, TEXTS, chunk=3, dtype="float32")
        features = trainee.load(ids, role)  # type: ignore[arg-type]
        assert len(features.chunks) == 3
        assert len({chunk["input_ids"].shape[1] for chunk in features.chunks}) > 1, "vacuous: all of one length"
        embedded = loss._embed([dict(chunk) for chunk in features.chunks], features.order)
        expected = trainee.vectors(ids, role)  # type: ignore[arg-type]
        assert np.allclose(embedded.detach(), expected, atol=1e-5)
    assert not np.allclose(trainee.vectors(ids, "query"), trainee.vectors(ids, "passage"), atol=1e-3), "vacuous roles"


def test_no_text_still_makes_a_pass_for_the_gradients(tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(
        output_dim=8, base_model=str(prompted(tmp_path)), freeze_base=False, device="cpu"
    )
    features = LiveTrainee(encoder, TEXTS, chunk=3, dtype="float32").load(np.array([], dtype=np.int64), "query")
    loss = RetrievalLoss(encoder, similarity="dot", temperature=1, isotropy_weight=0, isotropy_directions=1)
    embedded = loss._embed([dict(chunk) for chunk in features.chunks], features.order)
    assert embedded.shape == (0, 8)
    embedded.sum().backward()
    assert all(
        not parameter.grad.any() for parameter in encoder.projection[0].parameters() if parameter.grad is not None
    )
    assert encoder.projection[0].linear.weight.grad is not None


@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_a_live_run_moves_what_is_not_frozen_at_each_groups_rate(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen_layers: int
) -> None:
    encoder = IsotropicGaussianEncoder(
        output_dim=16, base_model=str(tiny_base), freeze_base=False, freeze_layers=frozen_layers, device="cpu"
    )
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    trainee = LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32")
    groups = {group.name: group for group in parameter_groups(trainee, paces(base=1e-3, projection=1e-2))}
    expected = encoder.get_trainable_parameters()
    assert {name: [id(p) for p in group.parameters] for name, group in groups.items()} == {
        name: [id(p) for p in parameters] for name, parameters in expected.items()
    }
    # An untrained model whose dev score is perfect would be returned as it was.
    monkeypatch.setattr("ragcun.train.selection.mean_scores", scores_that_rise())
    result, _ = run(trainee, tmp_path / "work", monkeypatch, base=1e-3, projection=1e-2)
    assert result.best_step == 8
    # Two of eight steps warm up; after half of them the fifth is next.
    middle = result.curve[result.curve["step"] == 4].iloc[0]
    assert middle["learning_rate_base"] == pytest.approx(1e-3 * 4 / 6)
    assert middle["learning_rate_projection"] == pytest.approx(1e-2 * 4 / 6)
    stays = {name for name, value in encoder.named_parameters() if torch.equal(value, before[name])}
    pooler = {name for name in before if ".pooler." in name}
    frozen = {name for name in before if ".embeddings." in name or ".layer.0." in name} if frozen_layers else set()
    assert stays == pooler | frozen
    # What gets no gradient is not left to DDP, which would wait for it, nor to weight decay.
    assert stays == {name for name, value in encoder.named_parameters() if not value.requires_grad}


@pytest.mark.parametrize("cached", [False, True])
def test_a_live_run_trains_the_tower_of_each_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=str(routed(tmp_path)), freeze_base=False, device="cpu")
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    trainee = LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32", cache_gradients=cached)
    monkeypatch.setattr("ragcun.train.selection.mean_scores", scores_that_rise())
    run(trainee, tmp_path / "work", monkeypatch, base=1e-3, projection=1e-2)
    stays = {name for name, value in encoder.named_parameters() if torch.equal(value, before[name])}
    assert stays == {name for name in before if ".pooler." in name}
    assert {name.split(".")[2] for name in before if name not in stays and "sub_modules" in name} == {
        "query",
        "document",
    }
    encoder.save(str(tmp_path / "trained"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "trained"), device="cpu")
    assert np.allclose(plain.encode_query(TEXTS), trainee.vectors(np.arange(60), "query"), atol=1e-5)
    assert np.allclose(plain.encode_document(TEXTS), trainee.vectors(np.arange(60), "passage"), atol=1e-5)


def test_a_role_that_uses_a_part_alone_keeps_it_in_training(tmp_path: Path) -> None:
    """What queries use is not frozen for passages that do not, and the other way round."""
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=str(routed(tmp_path)), freeze_base=False, device="cpu")
    LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32")
    frozen = {name for name, value in encoder.named_parameters() if not value.requires_grad}
    assert frozen == {name for name, _ in encoder.named_parameters() if ".pooler." in name}


def trained_live(base: str, work: str) -> dict[str, Any]:
    """What a live run comes to, on however many processes."""
    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=base, freeze_base=False, device="cpu")
    trainee = LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32")
    both = paces(base=1e-3, projection=1e-2)
    with pytest.MonkeyPatch.context() as patch:
        # The untrained model would be returned otherwise.
        patch.setattr("ragcun.train.selection.mean_scores", scores_that_rise())
        result = fit(trainee, pairs(), recipe(SETTINGS, both), similarity="cosine", seed=3, work=Path(work))
    assert result.best_step == 8
    weights = {name: value.detach() for name, value in encoder.named_parameters()}
    return {**weights, "losses": result.curve["loss"].tolist()[1:]}


@pytest.mark.engine
def test_a_live_run_on_two_processes_is_the_run_on_one(tmp_path: Path, invariant: Invariant) -> None:
    """C5, without dropout: each process would draw its own."""
    base = str(save_tiny_base(tmp_path / "base", dropout=0))
    alone = trained_live(base, str(tmp_path / "alone"))
    losses, alone = alone.pop("losses"), deciding(alone)
    for shared in run_in_processes(trained_live, 2, base, str(tmp_path / "shared")):
        found = shared.pop("losses")
        invariant("mean losses of a whole live run, 2 processes", max(map(relative, losses, found)), 1e-4)
        invariant("weights of a whole live run, 2 processes", difference(alone, deciding(shared), nought=1e-3), 1e-3)


def test_frozen_layers_are_in_evaluation_mode(tiny_base: Path) -> None:
    encoder = IsotropicGaussianEncoder(
        output_dim=8, base_model=str(tiny_base), freeze_base=False, freeze_layers=1, device="cpu"
    ).train()
    transformer = encoder.transformers_model
    assert transformer is not None
    assert not transformer.embeddings.training
    assert not transformer.encoder.layer[0].training
    assert transformer.encoder.layer[1].training


def gradients(encoder: IsotropicGaussianEncoder) -> dict[str, torch.Tensor]:
    """Of a live step's loss over all texts, without dropout."""
    encoder.zero_grad()
    features = LiveTrainee(encoder, TEXTS, chunk=8, dtype="float32").load(np.arange(30), "query")
    loss = RetrievalLoss(encoder, similarity="cosine", temperature=0.1, isotropy_weight=0, isotropy_directions=1)
    embedded = loss._embed([dict(chunk) for chunk in features.chunks], features.order)
    (embedded @ embedded.T).logsumexp(1).sum().backward()
    return {name: value.grad for name, value in encoder.named_parameters() if value.grad is not None}


@pytest.mark.engine
@pytest.mark.parametrize("base_of", [prompted, routed])
def test_fast_attention_has_the_gradients_of_the_fused(
    base_of: Callable[[Path], Path], tmp_path: Path, invariant: Invariant
) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(base_of(tmp_path)), freeze_base=False, device="cpu").eval()
    used = [module.model.config for module in encoder.modules() if isinstance(module, Transformer)]
    assert {config._attn_implementation for config in used} == {"sdpa"}
    expected = {name: value.clone() for name, value in gradients(encoder).items()}
    with fast_attention(encoder):
        assert {config._attn_implementation for config in used} == {"eager"}
        found = gradients(encoder)
    assert {config._attn_implementation for config in used} == {"sdpa"}
    assert len(found) > 30
    invariant("gradients, plain attention or fused, fp32", difference(deciding(expected), deciding(found)), 1e-4)


def test_long_texts_keep_the_fused_attention(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), freeze_base=False, device="cpu")
    assert encoder.transformers_model is not None
    for bound, expected in ((16, "eager"), (15, "sdpa")):
        monkeypatch.setattr("ragcun.train.trainee._SHORT", bound)
        with texts_cut_at(encoder, 16), fast_attention(encoder):
            assert encoder.transformers_model.config._attn_implementation == expected
