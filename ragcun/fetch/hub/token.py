"""Read the user's Hugging Face token, and keep it out of messages.

HF_TOKEN of the environment comes first, then the `.env` of the project's folder, or of the nearest folder above (an
experiment runs in a copy inside the project). Without either, huggingface_hub uses the login of `hf auth login`, if any.
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
    # An HTTP library would show the whole header in its error.
    if token and not _PRINTABLE.fullmatch(token):
        raise RagcunError(f"{NAME} holds white space or characters that no token has: copy it again")
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
