"""Draws that depend on each item alone: not on the order or the number of the others."""

from hashlib import blake2b


def keyed_hash(text: str, key: bytes) -> int:
    """64 bits of `text`, keyed."""
    return int.from_bytes(blake2b(text.encode(), key=key, digest_size=8).digest(), "big")
