"""A headless Chromium, driven by its DevTools protocol over a pair of pipes: no port, no driver, nothing to install beside it.

    with Browser() as browser:
        with browser.page(width=360, dark=True) as page:
            page.open("http://127.0.0.1:8080/")
            page.run("document.title")
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium")
START_TIMEOUT = 60.0
ANSWER_TIMEOUT = 60.0


class BrowserError(Exception):
    """It did not start, did not answer, or answered with an error."""


class Browser:
    def __init__(self) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise BrowserError(f"there is none of {', '.join(NAMES)}")
        self.folder = Path(tempfile.mkdtemp(prefix="gatherd-browser-"))
        self._received, self._number = b"", 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # As root there is no sandbox; what it opens is our own.
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio"]
        script = f'exec setpriv --pdeathsig=KILL "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = ["bash", "-c", script, "bash", program, "--remote-debugging-pipe", f"--user-data-dir={self.folder}", *options]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self.version = self.call("Browser.getVersion", timeout=START_TIMEOUT)["product"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close", timeout=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self.folder, ignore_errors=True)

    def page(self, *, width: int = 1200, height: int = 900, dark: bool = False, scripts: bool = True) -> Page:
        return Page(self, width, height, dark, scripts)

    # -- the protocol: JSON objects, each ended by a NUL --

    def call(self, method: str, session: str | None = None, timeout: float = ANSWER_TIMEOUT, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while number not in self._answers:
            self.listen(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def listen(self, deadline: float) -> None:
        """Take what has come, once; wait for something until the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._in], [], [], left)[0]:
            raise BrowserError("Chromium does not answer")
        chunk = os.read(self._in, 1 << 20)
        if not chunk:
            raise BrowserError(f"Chromium has ended: {(self.folder / 'log').read_text(errors='replace')[-1000:]}")
        *messages, self._received = (self._received + chunk).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)


class Page:
    """A tab with a profile of its own."""

    def __init__(self, browser: Browser, width: int, height: int, dark: bool, scripts: bool) -> None:
        self.browser = browser
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        self._target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(BrowserError):
            self.browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Returns when the page is loaded."""
        seen = len(self.events("Page.loadEventFired"))
        if error := self.call("Page.navigate", url=url).get("errorText"):
            raise BrowserError(f"{url}: {error}")
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while len(self.events("Page.loadEventFired")) == seen:
            self.browser.listen(deadline)

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str, timeout: float = 30) -> None:
        """Until it is true."""
        deadline = time.monotonic() + timeout
        while not self.run(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"not within {timeout} s: {expression}")
            time.sleep(0.05)

    def events(self, method: str) -> list[dict[str, Any]]:
        """What has happened in this page so far."""
        return [event["params"] for event in self.browser.events if event.get("sessionId") == self._session and event["method"] == method]

    def requests(self) -> list[str]:
        """The addresses that it has asked."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """What the console says: errors, and what the page's security policy refused."""
        return [event["entry"]["text"] for event in self.events("Log.entryAdded") if event["entry"]["level"] == "error"] + [
            event["exceptionDetails"]["text"] for event in self.events("Runtime.exceptionThrown")
        ]

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])
