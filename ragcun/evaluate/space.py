"""The space that a model puts a benchmark's texts in: its shape, for documents and for queries apart."""

import numpy as np

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.vectors import Vectors
from ragcun.measure.directions import alignment, centre_gap, partition_isotropy, uniformity
from ragcun.measure.hubness import hubness
from ragcun.measure.isotropy import isotropy
from ragcun.measure.kurtosis import mardia_kurtosis
from ragcun.measure.rows import sampled
from ragcun.measure.sigreg import sigreg_excess
from ragcun.params import Similarity

# Of a vector, counted for hubness; where there are no more vectors there is no hubness.
NEIGHBOURS = 10


def corpus_space(vectors: Vectors) -> dict[str, float]:
    """`space` of the documents."""
    return space(vectors.corpus, vectors.similarity)


def query_space(vectors: Vectors, benchmark: Benchmark) -> dict[str, float]:
    """`space` of the queries of all splits, with `alignment` to their answers and `centre_gap` to the documents.

    Nothing is said of queries that all have the same vector, as a single one does.
    """
    queries = np.asarray(vectors.queries)
    if not (queries != queries[:1]).any():
        return {}
    rows, answers = _judged_pairs(benchmark)
    found = space(queries, vectors.similarity) | {"centre_gap": centre_gap(queries, sampled(vectors.corpus))}
    if len(rows):
        found["alignment"] = alignment(queries[rows], np.asarray(vectors.corpus[answers]))
    return found


def space(vectors: np.ndarray, similarity: Similarity) -> dict[str, float]:
    """The measures of `vectors` (N, D) that so many of them allow; all ranks call together.

    IsoScore, mean cosine and effective rank are of all vectors, the others of a sample of at most 5,000, the same for every
    model.
    """
    # A single vector has no spread.
    if len(vectors) < 2:
        return {}
    rows = sampled(vectors)
    found = isotropy(vectors)
    found["partition_isotropy"] = partition_isotropy(rows)
    found["uniformity"] = uniformity(rows)
    found["sigreg_excess"] = sigreg_excess(rows)
    if len(rows) >= 2 * rows.shape[1]:
        found["mardia_kurtosis"] = mardia_kurtosis(rows)
    return found | (hubness(vectors, similarity=similarity, k=NEIGHBOURS) if len(vectors) > NEIGHBOURS else {})


def _judged_pairs(benchmark: Benchmark) -> tuple[list[int], list[int]]:
    """The rows of each query and of a document relevant to it, for all judgements above 0 of all splits."""
    document_rows = {document: row for row, document in enumerate(benchmark.doc_ids)}
    query_rows = {query: row for row, query in enumerate(benchmark.all_queries)}
    pairs = [
        (query_rows[query], document_rows[document])
        for qrels in benchmark.qrels.values()
        for query, judged in qrels.items()
        for document, grade in judged.items()
        if grade > 0 and document in document_rows
    ]
    return [row for row, _ in pairs], [row for _, row in pairs]
