"""Whether a model is adapted by its embeddings or by their directions."""

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from ragcun.encode.base import similarity_of


def ends_linear(model: SentenceTransformer) -> bool:
    """Whether the last module is a linear layer, which can take a linear map in.

    >>> ends_linear(tiny)
    False
    """
    last = list(model)[-1]
    return isinstance(last, Dense) and isinstance(last.activation_function, nn.Identity) and not last.use_residual


def sees_directions(model: SentenceTransformer) -> bool:
    """Whether the model is adapted by the directions of its embeddings, and not by the embeddings themselves.

    So it is under cosine, which looks at nothing else. A last layer that is linear takes the map in instead, and needs no
    module more.

    >>> sees_directions(tiny)
    True
    """
    return similarity_of(model) == "cosine" and not ends_linear(model)
