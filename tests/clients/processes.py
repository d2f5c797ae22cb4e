"""Programs around the tests: started on free ports, watched, and ended by their own id.

Nothing here waits for time to pass: every wait names an observable condition and has a limit, and
a limit that is reached is a failure that says what was waited for.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

# Seconds until a wait is given up. Far above what anything here takes, also on a busy machine.
LIMIT = 30.0

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests" / "clients" / "node"

T = TypeVar("T")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on.

    It lies below the range that the kernel takes for outgoing connections, so that no connection
    of a test running beside this one can take it before its server does.
    """
    for _ in range(1000):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port between 20000 and 32000")


def until(condition: Callable[[], T], what: str, limit: float = LIMIT) -> T:
    """Calls `condition` until it gives something true, and returns that."""
    deadline = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit:g} s in vain for: {what}")
        time.sleep(0.005)


def accepts(port: int) -> bool:
    """Whether something listens on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Program:
    """A running program whose output can be read as it comes, or else goes into its log."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bool = False,
        read: bool = True,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._unread = b""
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                # A pipe that nobody reads would stop a talkative program.
                stdout=subprocess.PIPE if read else errors,
                stderr=errors,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    def read_until(self, marker: bytes, limit: float = LIMIT) -> bytes:
        """Output up to and with `marker`; what follows it stays for the next call."""
        deadline = time.monotonic() + limit
        while marker not in self._unread:
            chunk = self._read(deadline)
            if chunk is None:
                raise AssertionError(f"{self.name}: no {marker!r} within {limit:g} s; so far {self._unread!r}")
            if not chunk:
                raise AssertionError(f"{self.name} ended before {marker!r}; its output: {self._unread!r}\n{self.errors()}")
            self._unread += chunk
        found, self._unread = self._unread.split(marker, 1)
        return found + marker

    def read_all(self, limit: float = LIMIT) -> bytes:
        """Output up to its end."""
        deadline = time.monotonic() + limit
        while True:
            chunk = self._read(deadline)
            if chunk is None:
                raise AssertionError(f"{self.name}: its output did not end within {limit:g} s: {self._unread[-500:]!r}")
            if not chunk:
                found, self._unread = self._unread, b""
                return found
            self._unread += chunk

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {limit:g} s\n{self.errors()}") from None

    def errors(self) -> str:
        """The end of its log: what it wrote to standard error, and to standard output if nobody reads that."""
        return self.log.read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """Ends it: asked first, then by force."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(LIMIT)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self, deadline: float) -> bytes | None:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        return os.read(fd, 65536) if ready else None
