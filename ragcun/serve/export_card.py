"""The README.md of an export: what the model is and gives, what made it, and how each client loads it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment
from sentence_transformers import SentenceTransformer

from ragcun.model.card import MINIMUM_VERSION
from ragcun.params import PARAMS_FILE
from ragcun.report.anchors import PUBLISHED, anchors_of

# The oldest release that the copy for older clients is tested with.
OLDEST_VERSION = "2.7"

_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
{% if licences %}license: other
license_name: of-the-base-and-the-data-below
{% endif %}tags:
- sentence-transformers
- feature-extraction
- retrieval
- onnx
---
# {{ name }}

A text embedder for retrieval, exported with ragcun. Its embeddings have {{ dim }} dimensions.
{% if length %}
It reads {{ length }} tokens of a text.
{% endif %}
Compare them by {{ similarity }}. A document's text is its title and its body, joined by a space.
{% if base.name %}
Its base is `{{ base.name }}`{% if base.licence %}, under the licence {{ base.licence }}{% endif %}.
{% endif %}

## Scores

{% if scores %}
NDCG@10 of the test queries; `base` is the model it was trained from, `bm25` the lexical baseline.

| benchmark |{% for model in models %} {{ model }} |{% endfor %}

| --- |{% for model in models %} --: |{% endfor %}

{% for benchmark, row in scores %}
| {{ benchmark }} |{% for score in row %} {{ "%.4f" % score if score is not none else "" }} |{% endfor %}

{% endfor %}
{% if published %}

Published for the same models, and measured here:

| model | benchmark | published | measured |
| --- | --- | --: | --: |
{% for each in published %}
| {{ each.of }} | {{ each.benchmark }} | {{ "%.4f" % each.published }} | {{ "%.4f" % each.measured }} |
{% endfor %}

{% for source in sources %}
* {{ source }}
{% endfor %}
{% endif %}
{% else %}
This folder was exported without `metrics/`: no score is known here.
{% endif %}

## What each file gives

Cosine to the vectors of the model in torch and fp32, over {{ texts }} texts, of the two folders over
{{ few }}{% if queries %}; NDCG@10 of {{ queries }} dev queries over
{{ passages }} passages, which were not trained on{% endif %}.

| file | MB | least cosine | mean cosine |{% if queries %} NDCG@10 |{% endif %}

| --- | --: | --: | --: |{% if queries %} --: |{% endif %}

{% for file, each in artefacts.items() %}
| `{{ file }}` | {{ "%.1f" % (each.bytes / 1e6) }} | {{ "%.6f" % each.least_cosine }} | {{ "%.6f" % each.mean_cosine }} |\
{% if queries %} {{ "%.4f" % each["ndcg@10"] if each["ndcg@10"] is not none else "" }} |{% endif %}

{% endfor %}
{% for file, why in absent.items() %}

`{{ file }}` is not here: {{ why }}.
{% endfor %}
{% if sizes %}

Bytes of a document against quality, on the same queries, under cosine:

| dimensions | numbers | bytes | NDCG@10 |
| --: | --- | --: | --: |
{% for each in sizes %}
| {{ each.dims }} | {{ each.numbers }} | {{ each.bytes }} | {{ "%.4f" % each["ndcg@10"] }} |
{% endfor %}
{% endif %}

## Use

sentence-transformers {{ minimum }} or newer:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{{ name }}")
query = model.encode_query("who wrote Candide")
documents = model.encode_document(["Candide Candide is a satire by Voltaire."])  # title, a space, body
print(model.similarity(query, documents))
```
{% if older %}

sentence-transformers {{ oldest }} to 5, and what reads its folders:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{{ name }}/older-clients")
query = model.encode("{{ prompts.query }}who wrote Candide")
```
{% endif %}
{% if onnx %}

onnxruntime and tokenizers, without torch; `model_int8.onnx` is the smaller one:

```python
import numpy as np, onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("{{ name }}/onnx/tokenizer.json")
session = onnxruntime.InferenceSession("{{ name }}/onnx/model.onnx")
read = tokenizer.encode_batch(["{{ prompts.query }}who wrote Candide"])
feed = {"input_ids": [r.ids for r in read], "attention_mask": [r.attention_mask for r in read], \
"token_type_ids": [r.type_ids for r in read]}
feed = {each.name: np.array(feed[each.name]) for each in session.get_inputs()}
query = session.run(["sentence_embedding"], feed)[0][0]
```

FastEmbed:

```python
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

TextEmbedding.add_custom_model(model="{{ name }}", pooling=PoolingType.DISABLED, normalization=False, dim={{ dim }}, \
sources=ModelSource(hf="{{ name }}"), model_file="model.onnx")
model = TextEmbedding("{{ name }}", specific_model_path="{{ name }}/onnx")
(query,) = model.embed(["{{ prompts.query }}who wrote Candide"])
```
{% endif %}

LangChain (`pip install langchain-huggingface`), LlamaIndex (`llama-index-embeddings-huggingface`) and Haystack
(`sentence-transformers-haystack`) load the folder by sentence-transformers:

```python
from langchain_huggingface import HuggingFaceEmbeddings

model = HuggingFaceEmbeddings(
    model_name="{{ name }}",
    encode_kwargs={"prompt": "{{ prompts.document }}"},
    query_encode_kwargs={"prompt": "{{ prompts.query }}"},
)
query = model.embed_query("who wrote Candide")
```

```python
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

model = HuggingFaceEmbedding(
    "{{ name }}", query_instruction="{{ prompts.query }}", text_instruction="{{ prompts.document }}"
)
query = model.get_query_embedding("who wrote Candide")
```

```python
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersTextEmbedder

model = SentenceTransformersTextEmbedder(model="{{ name }}", prefix="{{ prompts.query }}")
model.warm_up()
query = model.run("who wrote Candide")["embedding"]
```

PostgreSQL with pgvector: a column `embedding vector({{ dim }})`, and `ORDER BY embedding <=> query LIMIT 10`.

## Prompts

{% if prompts.query or prompts.document %}
A query begins with `{{ prompts.query }}`, a document with `{{ prompts.document }}`. `encode_query` and `encode_document` add
them; every other client must.
{% else %}
None: queries and documents are encoded as they are.
{% endif %}

## Training data

{% if data %}
{% for each in data %}
* {{ each.source }}, {{ each.licence }}, {{ each.revision }}: {{ "{:,}".format(each.kept) }} kept of {{ "{:,}".format(each.read) }}.
{% endfor %}
{% else %}
Not known here: the export ran without `data/raw/`.
{% endif %}

## Limits

* It was evaluated on the benchmarks above and on nothing else. On other text, other languages or longer documents, measure first.
* What stands beyond {{ length or "the base's limit" }} tokens is not read.
* `int8` rounds: its cosine is the one in the table, and its ranking is not that of fp32 to the last place.
* Load `onnx/` as shown. `SentenceTransformer(..., backend="onnx")` expects a graph of the transformer alone, which this is not.
{% if settings %}

## Made with

```json
{{ settings }}
```
{% endif %}
"""


def write_card(
    folder: Path,
    model: SentenceTransformer,
    *,
    name: str,
    trained: str,
    parity: dict[str, Any],
    project: Path,
    settings: str | None,
) -> None:
    """Write `folder`/README.md.

    Args:
        name: of the export.
        trained: the name that the model has in `project`'s metrics/.
        parity: what parity.json holds.
        project: the folder of metrics/ and data/, for scores and training data.
        settings: what made the model, as JSON.
    """
    models, scores = _scores(project / "metrics", trained)
    data = _training_data(project / "data/raw")
    published = _published(project, dict(scores), models)
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    text = environment.from_string(_CARD).render(
        name=name,
        dim=model.get_embedding_dimension(),
        length=model.max_seq_length,
        similarity=model.similarity_fn_name,
        models=models,
        scores=scores,
        published=published,
        sources=sorted({each["source"] for each in published}),
        **parity,
        older="older-clients" in parity["artefacts"],
        onnx="onnx/model.onnx" in parity["artefacts"],
        minimum=MINIMUM_VERSION,
        oldest=OLDEST_VERSION,
        prompts={role: model.prompts.get(role) or "" for role in ("query", "document")},
        data=data,
        base=_base(project),
        licences=sorted({each["licence"] for each in data}),
        settings=settings,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _scores(metrics: Path, name: str) -> tuple[list[str], Sequence[tuple[str, list[float | None]]]]:
    """The models that are shown, and for each benchmark their NDCG@10."""
    files = sorted(path.name for path in (metrics / name).glob("*.json"))
    models = [each for each in dict.fromkeys((name, "base", "bm25")) if (metrics / each).is_dir()]

    def score(model: str, file: str) -> float | None:
        path = metrics / model / file
        found = json.loads(path.read_text(encoding="utf-8")).get("ndcg@10") if path.is_file() else None
        return None if found is None else float(found)

    return models, [(file.removesuffix(".json"), [score(model, file) for model in models]) for file in files]


def _published(
    project: Path, scores: Mapping[str, Sequence[float | None]], models: Sequence[str]
) -> list[dict[str, Any]]:
    """What others published for the models beside this one, on the benchmarks that it was evaluated on."""
    known, params = project / PUBLISHED, project / PARAMS_FILE
    if not (known.is_file() and params.is_file()):
        return []
    base = yaml.safe_load(params.read_text(encoding="utf-8"))["base_model"]
    found = []
    for place, model in enumerate(models):
        measured = {benchmark: row[place] for benchmark, row in scores.items()}
        found += anchors_of(model, {name: each for name, each in measured.items() if each is not None}, base, known)
    return found


def _base(project: Path) -> dict[str, str | None]:
    """The name of the project's base, and the licence that its card names."""
    params, card = project / PARAMS_FILE, project / "models/base/README.md"
    name = yaml.safe_load(params.read_text(encoding="utf-8"))["base_model"] if params.is_file() else None
    _, begin, rest = (card.read_text(encoding="utf-8") if card.is_file() else "").partition("---\n")
    head = yaml.safe_load(rest.partition("\n---")[0]) if begin else None
    licence = head.get("license") if isinstance(head, dict) else None
    return {"name": name, "licence": None if licence is None else str(licence)}


def _training_data(raw: Path) -> list[dict[str, Any]]:
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(raw.glob("*/report.json"))]
    needed = ("source", "licence", "revision", "kept", "read")
    return [report for report in reports if all(report.get(key) is not None for key in needed)]
