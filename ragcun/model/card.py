"""The README.md of a saved model: how to use it, and the settings and data that made it."""

import json
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

# The first release whose module paths a saved model names.
MINIMUM_VERSION = "6.0"
TRAINED = "A text embedder for retrieval, trained with ragcun: a base encoder, then a two-layer projection."


def write_model_card(
    folder: Path, model: SentenceTransformer, *, name: str, about: str, settings: dict[str, Any]
) -> None:
    """Write `folder`/README.md.

    Args:
        about: the first sentence: what the model is.
        settings: what made it.

    >>> write_model_card(Path("."), tiny, name="mine", about=TRAINED, settings={"seed": 1})
    >>> "# mine" in Path("README.md").read_text()
    True
    """
    card = f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- retrieval
---
# {name}

{about} Its embeddings have {model.get_embedding_dimension()} dimensions. Compare them by {model.similarity_fn_name}; they
are not normalised. It is a plain SentenceTransformer and needs sentence-transformers {MINIMUM_VERSION} or newer.

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
