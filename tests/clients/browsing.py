"""A page in headless Chromium, and what its script says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import Program, free_port


class Page:
    """A page in a browser of its own, and what its script says."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.bytes = 0
        """Bytes of bodies that the browser has received so far."""

    def report(self) -> Any:
        """The script's next report."""
        return self._next("report")

    def result(self) -> Any:
        """What the script came to; it must have reported everything before."""
        return self._next("result")

    def wait_for_more_bytes(self, count: int) -> None:
        """Waits until `count` further bytes have arrived, of which the script reports nothing."""
        target = self.bytes + count
        while self.bytes < target:
            said = self._line()
            assert "bytes" in said, said

    def _next(self, kind: str) -> Any:
        while True:
            said = self._line()
            if kind in said:
                return said[kind]
            assert "bytes" in said, f"expected a {kind}: {said}"

    def _line(self) -> dict[str, Any]:
        said = json.loads(self._program.read_until(b"\n"))
        self.bytes += said.get("bytes", 0)
        return said


OpenPage = Callable[..., Page]


def open_page(program: Program, folder: Path, url: str, script: str, screenshot: Path | None = None) -> Page:
    """Has `program`, a fresh `browser.mjs`, open a page and start a script there."""
    job = {
        "url": url,
        "script": script,
        "profile": str(folder / f"profile-{free_port()}"),
        "chromium": os.environ.get("CHROMIUM", "/usr/bin/chromium"),
        "screenshot": str(screenshot) if screenshot else None,
    }
    assert program.process.stdin is not None
    program.process.stdin.write(json.dumps(job).encode() + b"\n")
    program.process.stdin.flush()
    return Page(program)
