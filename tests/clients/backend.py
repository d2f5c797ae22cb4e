"""The scripted backend: raw sockets that answer exactly as told, faults included.

An HTTP library would repair what these tests need broken, so this speaks HTTP/1.1 by hand. It runs
on an event loop in a thread of its own; tests talk to it from outside. In lock-step a piece leaves
only when the test releases it, so that "it came through at once" is proven by order, not by time.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from processes import LIMIT, until
from recordings import Recording

T = TypeVar("T")


class Ending(enum.Enum):
    """How an answer ends at the level of the transport."""

    CLEAN = "as its framing promises"
    RESET = "with a TCP reset"
    CLOSED = "with a plain close, although its framing promised more"
    SILENT = "never: the connection stays open and nothing comes"


@dataclass(frozen=True)
class Script:
    """One answer."""

    pieces: list[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: list[tuple[str, str]] = field(default_factory=list)
    framing: str = "chunked"  # or "length", "close", or "raw": as the headers given say
    ending: Ending = Ending.CLEAN
    lockstep: bool = False  # each piece, and the ending after them, waits for its release
    pause: float = 0.0  # seconds between pieces: a pacing, no test's outcome rests on it
    head_waits: bool = False  # in lock-step: the head waits for a release of its own
    headless: bool = False  # nothing is said before the ending, not even a head
    waits: Mapping[int, float] = field(default_factory=dict)  # seconds before the piece with this number

    @classmethod
    def replay(cls, recording: Recording, **changes: Any) -> Script:
        """A recording, event by event."""
        pieces = recording.events if recording.streamed else [recording.body]
        script = cls(pieces, status=recording.status, content_type=recording.content_type)
        return replace(script, **({} if recording.streamed else {"framing": "length"}), **changes)

    def cut(self, after: int, ending: Ending) -> Script:
        """Only the first `after` pieces, then `ending`."""
        assert after < len(self.pieces), "a cut leaves something out"
        return replace(self, pieces=self.pieces[:after], ending=ending)

    def chopped(self, size: int) -> Script:
        """The same bytes in pieces of `size`, which have nothing to do with events."""
        body = b"".join(self.pieces)
        return replace(self, pieces=[body[i : i + size] for i in range(0, len(body), size)])


class Exchange:
    """One request as it came, and the state of its answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: int, head: bytes, body: bytes) -> None:
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.version = request_line.split(" ")
        self.headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.body = body
        self.connection = connection
        self.gone = threading.Event()
        """Set when the peer left before the whole answer had been sent."""
        self.at = time.monotonic()
        """When the request's head had come."""
        self.gone_at: float | None = None
        """When the peer left, if it left before the whole answer had been sent."""
        self.done = threading.Event()
        """Set when the answer was sent, whatever its ending."""
        self.sent = 0
        """Pieces sent."""
        self._loop = loop
        self._permits = asyncio.Semaphore(0)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def release(self, pieces: int = 1) -> None:
        """In lock-step: lets the next pieces go (after the last piece, the ending)."""
        for _ in range(pieces):
            self._loop.call_soon_threadsafe(self._permits.release)

    async def permit(self) -> None:
        """Waits for one release."""
        await self._permits.acquire()

    def must_be_cancelled(self) -> None:
        """Waits until the peer has left this exchange."""
        assert self.gone.wait(LIMIT), "the backend never saw its request cancelled"


Answer = Callable[[Exchange], Script]


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="backends")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the loop and gives its result."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(LIMIT)

    def close(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT)
        self.loop.close()


class Backend:
    """A listening socket and what it answers."""

    def __init__(self, loop: Loop, answer: Script | Answer) -> None:
        self._loop = loop
        self.answer = answer
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self._serving: set[asyncio.Task[None]] = set()
        self._server = loop.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def exchange(self, number: int = 0) -> Exchange:
        """The request with this number, once it has come."""
        until(lambda: len(self.exchanges) > number, f"request {number} at the backend")
        return self.exchanges[number]

    def close(self) -> None:
        """Stops listening and drops every connection."""
        self._loop.run(self._close())

    async def _close(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self.connections += 1
        # A peer that goes away is an event here, never an error.
        with contextlib.suppress(OSError):
            await self._serve(_Connection(self.connections, reader, writer))
        writer.transport.abort()

    async def _serve(self, connection: _Connection) -> None:
        while (request := await connection.read_request(self._loop.loop)) is not None:
            self.exchanges.append(request)
            script = self.answer(request) if callable(self.answer) else self.answer
            watch = asyncio.ensure_future(connection.peer_left())
            answer = asyncio.ensure_future(_play(script, request, connection))
            try:
                await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done() or answer.exception() is not None:
                    request.gone_at = time.monotonic()
                    request.gone.set()
                    return
                request.done.set()
                if not answer.result():
                    return
            finally:
                for task in (watch, answer):
                    task.cancel()
                await asyncio.gather(watch, answer, return_exceptions=True)


class _Connection:
    """A socket with a buffer of its own, so that a peer's leaving is noticed while an answer is written."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.writer = writer
        self._reader = reader
        self._buffer = b""
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # `drain` then waits until the kernel has every byte, so that an ending drops none of them.
        writer.transport.set_write_buffer_limits(high=0)

    async def read_request(self, loop: asyncio.AbstractEventLoop) -> Exchange | None:
        """The next request with its whole body; none when the peer has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._fill():
                return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        request = Exchange(loop, self.number, head, b"")
        if (request.header("expect") or "").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            request.body = await self._chunked()
        else:
            request.body = await self._exactly(int(request.header("content-length") or 0))
        return request

    async def peer_left(self) -> None:
        """Returns when the peer has closed or reset; bytes it sends meanwhile are kept."""
        with contextlib.suppress(OSError):
            while await self._fill():
                pass

    async def write(self, data: bytes) -> None:
        """Writes in one piece."""
        self.writer.write(data)
        await self.writer.drain()

    async def reset(self) -> None:
        """Ends the connection with RST instead of FIN, once the peer's kernel has all that was written."""
        raw = self.writer.get_extra_info("socket")
        while fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4:
            await asyncio.sleep(0.001)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _fill(self) -> bool:
        data = await self._reader.read(65536)
        self._buffer += data
        return bool(data)

    async def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not await self._fill():
                raise ConnectionError("the peer left inside a request body")
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    async def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                if not await self._fill():
                    raise ConnectionError("the peer left inside a request body")
            size_line, self._buffer = self._buffer.split(b"\r\n", 1)
            size = int(size_line.split(b";")[0], 16)
            chunk = await self._exactly(size + 2)
            if size == 0:
                return body
            body += chunk[:size]


async def _play(script: Script, exchange: Exchange, connection: _Connection) -> bool:
    """Writes an answer; gives whether the connection can be used again."""
    if script.lockstep and script.head_waits:
        await exchange.permit()
    if script.headless:
        return await _end(script, connection)
    await connection.write(_head(script))
    for number, piece in enumerate(script.pieces):
        if script.lockstep:
            await exchange.permit()
        elif number in script.waits:
            await asyncio.sleep(script.waits[number])
        elif script.pause and number:
            await asyncio.sleep(script.pause)
        else:
            await asyncio.sleep(0)
        await connection.write(_framed(script, piece))
        exchange.sent += 1
    if script.lockstep:
        await exchange.permit()
    return await _end(script, connection)


async def _end(script: Script, connection: _Connection) -> bool:
    if script.ending is Ending.SILENT:
        await asyncio.Event().wait()
    if script.ending is Ending.RESET:
        await connection.reset()
        return False
    if script.ending is Ending.CLOSED or script.framing == "close":
        return False
    if script.framing == "chunked":
        await connection.write(b"0\r\n\r\n")
    return True


def _head(script: Script) -> bytes:
    headers: Iterable[tuple[str, str]] = [("Content-Type", script.content_type), *script.headers]
    if script.framing == "chunked":
        headers = [*headers, ("Transfer-Encoding", "chunked")]
    elif script.framing == "length":
        headers = [*headers, ("Content-Length", str(sum(map(len, script.pieces))))]
    elif script.framing == "close":
        headers = [*headers, ("Connection", "close")]
    lines = [f"HTTP/1.1 {script.status} Scripted", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _framed(script: Script, piece: bytes) -> bytes:
    if script.framing == "chunked":
        return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return piece
