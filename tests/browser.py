"""A real headless Chromium, driven by its DevTools protocol over aiohttp's WebSocket: no driver and no package beside."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_PATIENCE = 60.0


def chromium() -> str | None:
    """The path of a Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser, and the events that it sent."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._sent = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        self._run(self._connect(address))
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _run(self, waited: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(waited, _PATIENCE))

    async def _connect(self, address: str) -> None:
        self._client = aiohttp.ClientSession()
        self._socket = await self._client.ws_connect(address, max_msg_size=0)

    def close(self) -> None:
        self._run(self._socket.close())
        self._run(self._client.close())
        self._loop.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; what comes before it goes to `events`."""
        return self._run(self._call(method, params))  # type: ignore[no-any-return]

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        own = {"id": self._sent, "method": method, "params": params}
        await self._socket.send_str(json.dumps(own | ({"sessionId": self._session} if self._session else {})))
        while True:
            message = await self._next()
            if message.get("id") == own["id"]:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._socket.receive_str())
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path: Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of this size, and forget the events of the page before."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._run(self._loaded())

    async def _loaded(self) -> None:
        while not self.named("Page.loadEventFired"):
            await self._next()

    def named(self, method: str) -> list[dict[str, Any]]:
        """What the events of a kind said."""
        return [event["params"] for event in self.events if event["method"] == method]

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; an exception in it is an assertion error."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings: exceptions, the console's, and the browser's own (of a refused request, say)."""
        console = [each for each in self.named("Runtime.consoleAPICalled") if each["type"] in ("error", "warning")]
        log = [each for each in self.named("Log.entryAdded") if each["entry"]["level"] in ("error", "warning")]
        return [*self.named("Runtime.exceptionThrown"), *console, *log]

    def requests(self) -> list[str]:
        """The addresses that the page asked for, but itself and what it holds."""
        addresses = [each["request"]["url"] for each in self.named("Network.requestWillBeSent")]
        return [address for address in addresses[1:] if not address.startswith("data:")]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser while the block runs. profile: an empty folder for what it writes."""
    program = chromium()
    assert program is not None, "there is no Chromium: run `make browser`"
    process = subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        opened = Browser(_address(profile / "DevToolsActivePort", process))
        try:
            yield opened
        finally:
            opened.close()
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """The WebSocket that the browser opened, which it writes into its profile."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        lines = file.read_text().splitlines() if file.is_file() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("Chromium did not open its DevTools")
