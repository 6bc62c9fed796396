"""A page in headless Chromium, asked over its debugging pipe."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


class Browser:
    """One tab of one browser; a context manager."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()

        def places() -> None:  # it reads commands from 3 and answers to 4
            os.dup2(os.dup(theirs_in), 3)
            os.dup2(os.dup(theirs_out), 4)

        command = [CHROMIUM, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, close_fds=False, preexec_fn=places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._reader, self._writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        targets = self.ask("Target.getTargets")["targetInfos"]
        (target,) = (each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network", "Accessibility"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._reader.close()
        self._writer.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What it answers to a command; what it tells meanwhile goes to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._writer.write(json.dumps(message).encode() + b"\0")
        self._writer.flush()
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            assert byte, "the browser is gone"
            content += byte
        answer: dict[str, Any] = json.loads(content)
        return answer

    def open(self, page: Path | str, width: int) -> None:
        """Show a page, a file or an address, in a window of a width, until it has loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self.events.clear()
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def complaints(self) -> list[Any]:
        """What stands in the console, and all that was asked for beside the page itself and what lies in it."""
        told = [event for event in self.events if event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled")]
        asked = [event["params"]["request"]["url"] for event in self.events if event.get("method") == _REQUEST]
        return [*told, *(url for url in asked[1:] if not url.startswith("data:"))]


_REQUEST = "Network.requestWillBeSent"
