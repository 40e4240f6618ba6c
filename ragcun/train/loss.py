"""The objective: L = InfoNCE + λ · SIGReg, over a global batch that the processes share.

InfoNCE: each query against every distinct candidate passage of the global batch; a known positive of the query, other
than the one it is paired with, is masked out. SIGReg: ragcun/measure/sigreg.py.

Each rank embeds its shard of the queries and of the candidates; ragcun/distributed.py says why the sums come out right.
`LossMeans` keeps the means of the parts that the curve shows.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragcun import distributed
from ragcun.measure.sigreg import at_least_fp32, null_floor, random_directions, sigreg
from ragcun.params import Similarity, Training
from ragcun.train.batches import Targets


def logits(queries: Tensor, candidates: Tensor, similarity: Similarity, temperature: float) -> Tensor:
    """Scaled similarities, (Q, C), of queries (Q, D) and candidates (C, D), in fp32.

    cosine: cos(q, d) / τ; dot: q·d / (D·τ); euclidean: −‖q − d‖² / (2·D·τ).
    """
    queries, candidates = at_least_fp32(queries), at_least_fp32(candidates)
    if similarity == "cosine":
        return nn.functional.normalize(queries, dim=1) @ nn.functional.normalize(candidates, dim=1).T / temperature
    products = queries @ candidates.T
    if similarity == "euclidean":
        # ‖q‖² is the same for all candidates of a query, so the softmax would not see it, but the value of a logit would.
        products = products - (queries.square().sum(1)[:, None] + candidates.square().sum(1)[None, :]) / 2
    return products / (queries.shape[1] * temperature)


def info_nce(scaled: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """The sum over queries of −log softmax at the target.

    Args:
        scaled: logits (Q, C).
        target: (Q,), each query's own positive among the candidates.
        masked: (Q, C) booleans: candidates that do not count for a query; never its target.
    """
    return nn.functional.cross_entropy(scaled.masked_fill(masked, -math.inf), target, reduction="sum")


class RetrievalLoss(nn.Module):
    """InfoNCE + λ · SIGReg for SentenceTransformerTrainer, on the batches of `ragcun.train.batches.BatchCollator`.

    Args:
        model: what embeds: live texts or rows of the store.
        similarity, temperature: of the logits.
        isotropy_weight: λ; at 0 SIGReg is not computed.
        isotropy_directions: A.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        similarity: Similarity,
        temperature: float,
        isotropy_weight: float,
        isotropy_directions: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.similarity = similarity
        self.temperature = temperature
        self.isotropy_weight = isotropy_weight
        self.isotropy_directions = isotropy_directions

    @classmethod
    def of(cls, model: SentenceTransformer, similarity: Similarity, settings: Training) -> "RetrievalLoss":
        """As the params say."""
        return cls(
            model,
            similarity=similarity,
            temperature=settings.temperature,
            isotropy_weight=settings.isotropy_weight,
            isotropy_directions=settings.isotropy_directions,
        )

    def forward(self, features: list[dict[str, Tensor]], batch: Targets) -> dict[str, Tensor]:
        """The loss's parts on this rank; under DistributedDataParallel their mean over ranks is the global loss.

        Args:
            features: chunks of this rank's shard of the queries, then of its shard of the candidates.
            batch: the rest of what `BatchCollator` makes.

        Returns:
            `contrastive` and, where λ > 0, `isotropy`, already weighted: λ times SIGReg's excess over its null floor.
        """
        split = batch["query_chunks"]
        queries = self._embed(features[:split], batch["query_order"])
        candidates = self._embed(features[split:], batch["candidate_order"])
        # Autocast is for the encoder: a softmax and a characteristic function in half precision are too coarse.
        with torch.autocast(queries.device.type, enabled=False):
            everyone = distributed.gather_rows(at_least_fp32(candidates), batch["candidates"])
            scaled = logits(queries, everyone, self.similarity, self.temperature)
            total = info_nce(scaled, batch["target"], batch["masked"])
            parts = {"contrastive": total * distributed.world_size() / batch["queries"]}
            if self.isotropy_weight:
                count = batch["queries"] + batch["candidates"]
                directions = random_directions(
                    queries.shape[1], self.isotropy_directions, batch["seed"], queries.device
                )
                statistic = sigreg(torch.cat([queries, candidates]), count, directions)
                # The floor is a constant: it moves the value that is read, not the gradient.
                parts["isotropy"] = self.isotropy_weight * (statistic - null_floor(count))
        return parts

    def _embed(self, chunks: list[dict[str, Tensor]], order: Tensor) -> Tensor:
        """(n, D): the chunks' embeddings in the order of the texts."""
        return torch.cat([self.model(chunk)["sentence_embedding"] for chunk in chunks])[order]


class LossMeans:
    """The mean of each part of the loss over ranks and over the steps since the last call of `means`."""

    def __init__(self) -> None:
        self._steps = 0
        self._sums: dict[str, float] = {}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Add the parts of one step on this rank."""
        self._steps += 1
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item()

    def over_ranks(self) -> dict[str, float]:
        """`steps`, and the parts' sums over them, each the mean over the ranks."""
        everyone = distributed.gather_objects(self._sums)
        sums = {name: sum(rank[name] for rank in everyone) / len(everyone) for name in self._sums}
        return {"steps": self._steps, **sums}

    def means(self) -> dict[str, float]:
        """The means, with `loss` for their sum; then start again."""
        sums = self.over_ranks()
        steps = int(sums.pop("steps"))
        self._steps, self._sums = 0, {}
        parts = {name: value / max(1, steps) for name, value in sums.items()}
        return {"loss": sum(parts.values()), **parts}

    def load(self, path: Path) -> None:
        """Go on from what `over_ranks` gave and was written as JSON."""
        sums = json.loads(path.read_text(encoding="utf-8"))
        self._steps, self._sums = int(sums.pop("steps")), sums
