"""The one exception for what a user can mend: its message names the cause and the remedy.

Stages print it without a traceback and exit 1; anything else is a defect of ragcun and keeps its traceback.
"""


class RagcunError(Exception):
    """Something outside the code is wrong: params, data, network, machine."""


class LostProcessError(RagcunError):
    """Another process of this run has gone: its failure is the cause, not this one."""


def unsupported_similarity(origin: str, similarity: object) -> RagcunError:
    """The error of a base model that compares its vectors as ragcun cannot."""
    return RagcunError(
        f"{origin} compares its vectors by {similarity}; ragcun compares by cosine, euclidean or dot. Save it with one of "
        "these: SentenceTransformer(MODEL, similarity_fn_name='cosine').save(FOLDER), then base_model: FOLDER"
    )


def without_pooling(origin: str) -> RagcunError:
    """The error of a base model that gives a vector for each token, and none for the text."""
    return RagcunError(
        f"{origin} gives no vector of a whole text: it has no pooling. Give it the one that it was trained with: "
        "SentenceTransformer(modules=[Transformer(MODEL), Pooling(DIMENSION, 'mean')]).save(FOLDER), "
        "then base_model: FOLDER"
    )
