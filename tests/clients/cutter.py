"""A proxy that cuts connections: after so many bytes, or after so long, with a reset or a plain close.

It stands between a client and the gateway. A connection is let alone until a request on it names what
is to be cut; then its fate is drawn. All draws come from one seed. After enough cuts it lets all pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

from backend import Loop

# The first answers are let through up to here: a client then knows how soon it may come back.
SPARED = 4000


class Cutter:
    """A listening socket that leads to a port of 127.0.0.1."""

    def __init__(self, loop: Loop, port: int, marker: str, *, cuts: int, spared: int = 1, seed: int = 1) -> None:
        self._loop = loop
        self._to = port
        self._marker = marker.encode()
        self._random = random.Random(seed)
        self._spared = spared
        self._tasks: set[asyncio.Task[None]] = set()
        self.wanted = cuts
        self.cuts = 0
        """Connections cut so far."""
        self.answers: list[int] = []
        """The status of each answer that came on a marked connection, in order."""
        self._server = loop.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def done(self) -> bool:
        """Whether it has cut as often as it was told."""
        return self.cuts >= self.wanted

    def close(self) -> None:
        """Stops listening and drops every connection."""
        self._loop.run(self._close())

    def fate(self) -> tuple[int | None, float | None]:
        """After how many bytes of the answer, or how many seconds, a connection is cut."""
        if self._spared:
            self._spared -= 1
            return SPARED, None
        if self._random.random() < 0.5:
            return self._random.randrange(3000), None
        return None, self._random.random() * 0.05

    def draw(self) -> float:
        """A number between 0 and 1."""
        return self._random.random()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError):
                await _Pipe(self, self._marker, reader, writer).run(self._to)
        finally:
            writer.transport.abort()


class _Pipe:
    """One connection through the proxy."""

    def __init__(
        self, cutter: Cutter, marker: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._cutter = cutter
        self._marker = marker
        self._reader = reader
        self._writer = writer
        self._cut = asyncio.Event()
        self._marked = False
        self._left: int | None = None
        self._head = b""
        """The answer's beginning, up to the end of its head."""

    async def run(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.ensure_future(self._up(writer)),
            asyncio.ensure_future(self._down(reader)),
            asyncio.ensure_future(self._cut.wait()),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self._cut.is_set():
                await self._end()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()

    async def _up(self, writer: asyncio.StreamWriter) -> None:
        while data := await self._reader.read(65536):
            if self._marker in data:
                self._mark()
            writer.write(data)
            await writer.drain()

    def _mark(self) -> None:
        self._marked = True
        if self._cutter.done:
            return
        self._left, seconds = self._cutter.fate()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._cut.set)

    async def _down(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            if self._marked and data.startswith(b"HTTP/1.1 "):
                self._cutter.answers.append(int(data[9:12]))
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            if self._marked and b"\r\n\r\n" not in self._head:
                self._head += data
            self._writer.write(data)
            await self._writer.drain()
            if self._left == 0:
                self._cut.set()
                return

    async def _end(self) -> None:
        self._cutter.cuts += 1
        # A browser takes a head that a plain close cuts short for the whole head, without its
        # content type, and gives up: nothing that a server could prevent.
        within_head = self._head != b"" and b"\r\n\r\n" not in self._head
        if within_head or self._cutter.draw() < 0.5:
            raw = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            return
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
