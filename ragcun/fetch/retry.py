"""Try a request again where it failed for a reason that may pass.

Waits double from one failure to the next and vary at random; a server's Retry-After replaces them. A failure after which
more has arrived than ever before does not count, so a download ends only when several tries in a row brought nothing.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import urllib3

logger = logging.getLogger(__name__)

# HTTP statuses of a server that may answer the same request a little later.
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
# Its own generator: the waits must not shift what the seeded ones draw.
_jitter = random.Random()
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Patience:
    """How often to try, and how long to wait, in seconds.

    attempts: in a row without progress. first_wait: after the first failure, then doubled up to longest_wait, which also
    bounds a server's Retry-After. connect, silence: how long to wait for a connection, and for a byte on it.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    connect: float = 20.0
    silence: float = 60.0


class PassingError(Exception):
    """A try failed in a way that the next one may not; `wait` is what the server asks for, in seconds."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


def seconds_asked(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to wait; None where it does not say, or not clearly."""
    try:
        return urllib3.Retry().parse_retry_after(headers["Retry-After"])
    except (KeyError, urllib3.exceptions.InvalidHeader):
        return None


def retried(
    attempt: Callable[[], _Result], patience: Patience, *, label: str, arrived: Callable[[], int] = lambda: 0
) -> _Result:
    """The result of the first attempt that succeeds.

    Args:
        label: what is tried, for the log. arrived: how much there is by now; where it grows, patience starts again.

    Raises PassingError, the last one, after `patience.attempts` failures in a row without progress.
    """
    most, fruitless = arrived(), 0
    while True:
        try:
            return attempt()
        except PassingError as failure:
            fruitless = 0 if arrived() > most else fruitless + 1
            most = max(most, arrived())
            if fruitless >= patience.attempts:
                raise
            wait = failure.wait
            if wait is None:
                wait = patience.first_wait * 2 ** max(0, fruitless - 1) * _jitter.uniform(0.5, 1.5)
            wait = min(wait, patience.longest_wait)
            logger.warning("%s: %s; trying again in %.1f s", label, failure, wait)
            time.sleep(wait)
