"""The README.md of a saved model: how to use it, and the settings and data that made it, which can be read back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# The first release whose module paths a saved model names.
MINIMUM_VERSION = "6.0"
_MADE_WITH = "## Made with\n\n```json\n"
TRAINED = "A text embedder for retrieval, trained with ragcun: a base encoder, then a two-layer projection."


def write_model_card(
    folder: Path, model: "SentenceTransformer", *, name: str, about: str, settings: dict[str, Any]
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
documents = model.encode_document(["Candide Candide is a satire by Voltaire."])  # title, a space, body
print(model.similarity(queries, documents))
```

A document's text is its title and its body, joined by a space.

{_MADE_WITH}{json.dumps(settings, indent=2, sort_keys=True)}
```
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def made_with(folder: Path) -> dict[str, Any]:
    """The settings in the card of a model that ragcun saved; none for any other model.

    >>> write_model_card(Path("."), tiny, name="mine", about=TRAINED, settings={"seed": 1})
    >>> made_with(Path("."))
    {'seed': 1}
    """
    card = folder / "README.md"
    _, heading, settings = card.read_text(encoding="utf-8").rpartition(_MADE_WITH) if card.is_file() else ("", "", "")
    found: dict[str, Any] = json.loads(settings.removesuffix("```\n")) if heading else {}
    return found
