"""The user's Hugging Face token: the one place that reads it, and what keeps it out of messages.

HF_TOKEN of the environment comes first, then the `.env` of the project's folder (or, for an experiment that runs in a
copy of the project inside it, of the nearest folder above). Without either, None: huggingface_hub then uses the login
that `hf auth login` stored, if there is one.
"""

import os
import re

from dotenv import dotenv_values, find_dotenv

from ragcun.core.errors import RagcunError

NAME = "HF_TOKEN"
_PRINTABLE = re.compile(r"[!-~]+")


def hub_token() -> str | None:
    """The token, or None. Raises RagcunError, without showing it, where it cannot be one."""
    token = os.environ.get(NAME, "").strip() or _from_dotenv()
    # An HTTP library would show the whole header in its own error.
    if token and not _PRINTABLE.fullmatch(token):
        raise RagcunError(f"{NAME} holds white space or characters that no token has: copy it anew")
    return token or None


def without_token(text: str) -> str:
    """`text` with the token, should a server have sent it back, replaced by its name."""
    token = hub_token()
    return text.replace(token, f"<{NAME}>") if token else text


def _from_dotenv() -> str:
    path = find_dotenv(usecwd=True)
    if not path:
        return ""
    try:
        return (dotenv_values(path, interpolate=False).get(NAME) or "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RagcunError(f"{path} cannot be read ({type(error).__name__}): make it a readable UTF-8 file") from None
