"""What tests of downloads share: a body on a server, and how it is fetched."""

import hashlib
import random
from pathlib import Path
from typing import Any

from ragcun.fetch.http import fetch
from ragcun.fetch.retry import Patience
from tests.servers.http import Fault, HttpServer, Response

BODY = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
QUICK = Patience(attempts=3, first_wait=0.001, longest_wait=0.05, connect=2, silence=0.3)


def get(server: HttpServer, target: Path, *, path: str = "/a.zip", **options: Any) -> None:
    options = {"md5": MD5, "patience": QUICK, **options}
    fetch(server.url + path, target, label="the archive", remedy="check data.beir_url", **options)


def serve(*faults: Fault | None, **options: Any) -> HttpServer:
    return HttpServer({"/a.zip": Response(BODY)}, faults=faults, stall=1.0, **options)


def ranges(server: HttpServer) -> list[str | None]:
    return [seen.headers.get("Range") for seen in server.log]


def only_file(target: Path) -> bool:
    """Nothing but the finished file, and the lock, is left."""
    return {path.name for path in target.parent.iterdir()} == {target.name, f"{target.name}.lock"}
