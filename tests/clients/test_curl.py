"""`curl -N`, in HTTP/1.1 and HTTP/1.0: what comes at once, and which ending it takes for success."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

import recordings
from backend import Ending, Script
from conftest import StartBackend, StartGateway, StartProgram
from gateway import event_route, model_route

# curl's exit codes: 18 is a body shorter than promised, 56 a failure to receive (a reset).
CUT_OFF = (18, 56)

VERSIONS = {"HTTP/1.1": [], "HTTP/1.0": ["-0"]}

each_version = pytest.mark.parametrize("version", list(VERSIONS))

TICKS = [b"data: %d\n\n" % number for number in range(6)]


def curl(version: str, url: str, *more: str) -> list[str]:
    """A curl that prints what it gets at once, and says why it failed."""
    return ["curl", "-sS", "-N", *VERSIONS[version], *more, url]


def ask_chat(url: str) -> list[str]:
    """The arguments of a streamed chat completion."""
    return ["-H", "Content-Type: application/json", "-d", '{"model":"m","stream":true}', f"{url}/v1/chat/completions"]


# --- At once.


@each_version
@pytest.mark.parametrize(
    "accept", [[], ["-H", "Accept:"], ["-H", "Accept: text/event-stream"]], ids=["any", "none", "event stream"]
)
def test_each_event_arrives_before_the_next_is_sent(
    version: str, accept: list[str], backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    source = backend(Script(TICKS, lockstep=True))
    client = program(curl(version, gateway(event_route(source.url)).url + "/ticks", "-i", *accept))
    # curl prints a head only together with the first byte of the body.
    source.exchange().release()
    head = client.read_until(b"\r\n\r\n").lower()
    assert b" 200 " in head.splitlines()[0]
    assert b"\r\nx-accel-buffering: no\r\n" in head
    assert b"\r\ncache-control: no-cache, no-transform\r\n" in head
    assert b"\r\ncontent-type: text/event-stream\r\n" in head
    assert client.read_until(b"\n\n") == TICKS[0]
    for tick in TICKS[1:]:
        source.exchange().release()
        assert client.read_until(b"\n\n") == tick
    source.exchange().release()
    assert client.read_all() == b""
    assert client.wait() == 0


def test_half_an_event_arrives_before_its_other_half_is_sent(
    backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    source = backend(Script([b"data: Ol\xc3", b"\xa1\n\n"], lockstep=True))
    client = program(curl("HTTP/1.1", gateway(event_route(source.url)).url))
    source.exchange().release()
    client.read_until(b"data: Ol\xc3")
    source.exchange().release(2)
    assert client.read_all() == b"\xa1\n\n"
    assert client.wait() == 0


def test_a_silent_stream_gets_heartbeats_between_events_only(
    backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    source = backend(Script([b"data: 1\n\n", b"data: 2", b"\n\n"], lockstep=True))
    client = program(curl("HTTP/1.1", gateway(event_route(source.url, 'heartbeat = "1s"')).url))
    source.exchange().release()
    assert client.read_until(b"data: 1\n\n") == b"data: 1\n\n"
    assert client.read_until(b":\n\n") == b":\n\n"
    # The backend stops inside an event. Another stream shows that the heartbeat's time has passed.
    source.exchange().release()
    client.read_until(b"data: 2")
    other = program(curl("HTTP/1.1", gateway(event_route(source.url, 'heartbeat = "1s"')).url))
    source.exchange(1).release()
    other.read_until(b"data: 1\n\n:\n\n:\n\n")
    source.exchange().release(2)
    assert client.read_all() == b"\n\n"
    assert client.wait() == 0


@each_version
@pytest.mark.parametrize("head_waits", [True, False], ids=["before the head", "after the first event"])
def test_leaving_cancels_at_the_backend(
    version: str, head_waits: bool, backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    source = backend(Script(TICKS, lockstep=True, head_waits=head_waits))
    client = program(curl(version, gateway(event_route(source.url)).url))
    if not head_waits:
        source.exchange().release()
        client.read_until(TICKS[0])
    source.exchange()
    client.stop()
    source.exchange().must_be_cancelled()


# --- Endings.

PLAIN_CUTS: dict[str, Callable[[], Script]] = {
    "closed between events": lambda: Script(TICKS).cut(3, Ending.CLOSED),
    "reset between events": lambda: Script(TICKS).cut(3, Ending.RESET),
    "silent between events": lambda: Script(TICKS).cut(3, Ending.SILENT),
    "closed inside an event": lambda: Script([*TICKS[:3], b"data: 3"], ending=Ending.CLOSED),
    "reset inside an event": lambda: Script([*TICKS[:3], b"data: 3"], ending=Ending.RESET),
    "compressed": lambda: Script(
        [gzip.compress(b"".join(TICKS))[:-4]], headers=[("Content-Encoding", "gzip")], ending=Ending.CLOSED
    ),
    "a document, shorter than its length": lambda: Script(
        [b'{"a":'], content_type="application/json", headers=[("Content-Length", "20")], framing="raw",
        ending=Ending.CLOSED,
    ),
    "NDJSON": lambda: Script([b'{"a":1}\n'], content_type="application/x-ndjson", ending=Ending.CLOSED),
}


@each_version
@pytest.mark.parametrize("cut", list(PLAIN_CUTS))
def test_a_cut_plain_answer_is_a_failure_for_curl(
    version: str, cut: str, backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    script = PLAIN_CUTS[cut]()
    url = gateway(event_route(backend(script).url, 'clocks = { idle = "1s" }')).url
    client = program(curl(version, url))
    got = client.read_all()
    assert client.wait() in CUT_OFF, client.errors()
    assert b"".join(script.pieces).startswith(got), "nothing was made up"


@each_version
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_whole_plain_stream_is_a_success_for_curl(
    version: str, framing: str, backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    client = program(curl(version, gateway(event_route(backend(Script(TICKS, framing=framing)).url)).url))
    assert client.read_all() == b"".join(TICKS)
    assert client.wait() == 0, client.errors()


@each_version
@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.RESET, Ending.CLEAN, Ending.SILENT], ids=lambda e: e.name)
def test_a_cut_chat_ends_with_an_error_event(
    version: str, ending: Ending, backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    script = Script.replay(recordings.load("deepseek/chat-emoji-85ad")).cut(10, ending)
    url = gateway(model_route(backend(script).url, 'clocks = { idle = "1s" }')).url
    client = program(["curl", "-sS", "-N", *VERSIONS[version], *ask_chat(url)])
    got = client.read_all()
    assert client.wait() == 0, client.errors()
    sent = b"".join(script.pieces)
    assert got.startswith(sent)
    (error,) = recordings.payloads_of(got.removeprefix(sent))
    assert error["error"]["message"]
    assert b"[DONE]" not in got


@each_version
def test_a_chat_cut_inside_an_event_is_a_failure_for_curl(
    version: str, backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    events = recordings.load("deepseek/chat-emoji-85ad").events
    script = Script([*events[:10], events[10][:-9]], ending=Ending.CLOSED)
    client = program(["curl", "-sS", "-N", *VERSIONS[version], *ask_chat(gateway(model_route(backend(script).url)).url)])
    got = client.read_all()
    assert client.wait() in CUT_OFF, client.errors()
    assert b"".join(script.pieces).startswith(got)
