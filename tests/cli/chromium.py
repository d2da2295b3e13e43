"""A page in headless Chromium: real clicks and keys by the DevTools protocol, and what it asks the network for."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 60.0  # seconds until the browser must have answered


def find() -> str | None:
    """The browser of this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> str:
    """Installs Debian's Chromium where that is possible; returns why it is not, or nothing."""
    if os.geteuid() or not shutil.which("apt-get"):
        return "no Chromium here, and no right or no apt-get to install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        line = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *command]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=540)
        if done.returncode:
            return f"no Chromium here, and it cannot be installed: {done.stderr.strip()[-200:]}"
    return "" if find() else "no Chromium here, and apt-get installed none"


class Page:
    """An open page."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.asked: list[str] = []
        self.faults: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its answer; what the page did meanwhile is noted."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE))
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(message["params"]["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.faults.append(message["params"]["entry"]["text"])

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path: Path) -> None:
        """Opens a file and waits until it is shown."""
        self.call("Page.navigate", url=path.absolute().as_uri())
        end = time.monotonic() + PATIENCE
        while self.value("document.readyState") != "complete" or self.value("location.href") == "about:blank":
            assert time.monotonic() < end, "the page does not load"
            time.sleep(0.1)

    def size(self, width: int, height: int) -> None:
        """Takes the size of a window, narrow ones as a phone has it."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{where}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({where}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """A key, to the element that has the focus."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}
        known = {"key": key, "code": key if key in codes else f"Key{key.upper()}"}
        known["windowsVirtualKeyCode"] = codes[key] if key in codes else ord(key.upper())
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **({} if key in codes else {"text": key}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def pixels(self, selector: str) -> bytes:
        """A PNG of what is seen of an element, once its pictures are decoded."""
        self.value("Promise.all([...document.querySelectorAll('img[src]')].map(one => one.decode()))")
        where = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{where}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.value(
            f"(r => ({{x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}}))"
            f"({where}.getBoundingClientRect())"
        )
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", clip=box)["data"])


@contextmanager
def browse(program: str) -> Iterator[Page]:
    """A page of a browser that ends with the block."""
    from websockets.sync.client import connect

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        line = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        line += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            with connect(_address(process, Path(profile)), max_size=None, open_timeout=PATIENCE) as socket:
                page = Page(socket)
                for area in ("Page", "Runtime", "Network", "Log"):
                    page.call(f"{area}.enable")
                yield page
        finally:
            process.kill()
            process.communicate()


def _address(process: subprocess.Popen[str], profile: Path) -> str:
    """Of the browser's first page."""
    from urllib.request import urlopen

    end = time.monotonic() + PATIENCE
    ready = profile / "DevToolsActivePort"
    while not (ready.is_file() and ready.read_text().count("\n")):
        assert process.poll() is None, f"the browser ended: {process.communicate()[1][-500:]}"
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.1)
    port = re.match(r"\d+", ready.read_text())
    assert port is not None
    while True:
        with urlopen(f"http://127.0.0.1:{port[0]}/json/list", timeout=PATIENCE) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        assert time.monotonic() < end, "the browser shows no page"
        time.sleep(0.1)
