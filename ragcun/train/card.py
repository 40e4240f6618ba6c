"""The README.md of a saved model: how to use it, and the settings and data that made it."""

import json
from pathlib import Path
from typing import Any

from ragcun.model.encoder import IsotropicGaussianEncoder

# The first release whose module paths a saved model names.
MINIMUM_VERSION = "6.0"


def write_model_card(folder: Path, encoder: IsotropicGaussianEncoder, *, name: str, settings: dict[str, Any]) -> None:
    """Write `folder`/README.md."""
    card = f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- retrieval
---
# {name}

A text embedder for retrieval, trained with ragcun: a base encoder, then a two-layer projection to
{encoder.get_embedding_dimension()} dimensions. Compare embeddings by {encoder.similarity_fn_name}; they are not
normalised. It is a plain SentenceTransformer and needs sentence-transformers {MINIMUM_VERSION} or newer.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["who wrote Candide"])
documents = model.encode_document(["Candide. Candide is a satire by Voltaire."])
print(model.similarity(queries, documents))
```

A document's text is its title and its body, joined by a space.

## Made with

```json
{json.dumps(settings, indent=2, sort_keys=True)}
```
"""
    (folder / "README.md").write_text(card, encoding="utf-8")
