"""What the tests share: backends, gateways, programs and nginx, each ended when its test ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backend import Answer, Backend, Loop, Script
from browsing import OpenPage, Page, open_page
from cutter import Cutter
from faulty import Faulty, Play
from gateway import Gateway
from nginx import Nginx
from processes import NODE, Program, accepts, free_port, until

StartBackend = Callable[[Script | Answer], Backend]
StartFaulty = Callable[..., Faulty]
StartGateway = Callable[..., Gateway]
StartProgram = Callable[..., Program]


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The event loop of all scripted backends."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    """What ends with the test, last started first."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def backend(loop: Loop, cleanup: contextlib.ExitStack) -> StartBackend:
    """Starts scripted backends."""

    def start(answer: Script | Answer) -> Backend:
        backend = Backend(loop, answer)
        cleanup.callback(backend.close)
        return backend

    return start


@pytest.fixture
def faulty(loop: Loop, cleanup: contextlib.ExitStack) -> StartFaulty:
    """Starts backends that answer each request by the next of their plays, and by the last for ever."""

    def start(*plays: Play) -> Faulty:
        backend = Faulty(loop, *plays)
        cleanup.callback(backend.close)
        return backend

    return start


@pytest.fixture
def gateway(tmp_path: Path, cleanup: contextlib.ExitStack) -> StartGateway:
    """Starts gateways. What they logged is shown when the test fails."""

    def start(config: str, **options: Any) -> Gateway:
        gateway = Gateway(tmp_path, config, **options)
        cleanup.callback(lambda: print(f"--- the gateway's log\n{gateway.program.errors()}"))
        cleanup.callback(gateway.stop)
        return gateway

    return start


@pytest.fixture
def program(tmp_path: Path, cleanup: contextlib.ExitStack) -> StartProgram:
    """Starts programs whose output is read as it comes."""

    def start(command: Sequence[str | Path], **options: object) -> Program:
        log = tmp_path / f"{Path(command[0]).name}-{free_port()}.log"
        running = Program(command, log=log, **options)  # type: ignore[arg-type]
        cleanup.callback(running.stop)
        return running

    return start


@pytest.fixture
def node(program: StartProgram) -> Callable[..., Program]:
    """Starts a script of the folder `node/`."""

    def start(script: str, *arguments: str, **options: object) -> Program:
        return program(["node", NODE / script, *arguments], **options)

    return start


@pytest.fixture
def nginx(tmp_path: Path, cleanup: contextlib.ExitStack) -> Callable[..., Nginx]:
    """Starts nginx in front of a URL."""

    def start(to: str, **options: str) -> Nginx:
        running = Nginx(tmp_path, to, **options)
        cleanup.callback(running.stop)
        return running

    return start


@pytest.fixture
def serve(program: StartProgram) -> Callable[..., str]:
    """Starts a server program that takes its port as last argument; gives its URL once it accepts."""

    def start(*command: str | Path, **options: object) -> str:
        port = free_port()
        running = program([*command, str(port)], read=False, **options)

        def up() -> bool:
            if running.process.poll() is not None:
                raise AssertionError(f"{running.name} did not start:\n{running.errors()}")
            return accepts(port)

        until(up, f"{running.name} on port {port}")
        return f"http://127.0.0.1:{port}"

    return start


@pytest.fixture
def browse(node: Callable[..., Program], tmp_path: Path) -> OpenPage:
    """Opens a page in a fresh browser and starts a script there."""

    def start(url: str, script: str, screenshot: Path | None = None) -> Page:
        return open_page(node("browser.mjs", stdin=True), tmp_path, url, script, screenshot)

    return start


@pytest.fixture
def cutter(loop: Loop, cleanup: contextlib.ExitStack) -> Callable[..., Cutter]:
    """Starts proxies that cut connections to a port."""

    def start(port: int, marker: str, **options: int) -> Cutter:
        running = Cutter(loop, port, marker, **options)
        cleanup.callback(running.close)
        return running

    return start
