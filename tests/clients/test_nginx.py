"""nginx in front of the gateway, with the defaults that break streams elsewhere, and nginx behind it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import pytest

import recordings
from backend import Ending, Script
from conftest import StartBackend, StartGateway, StartProgram
from gateway import event_route, model_route
from nginx import Nginx
from sdks import Job, run_python
from test_curl import CUT_OFF, PLAIN_CUTS, TICKS, ask_chat

StartNginx = Callable[..., Nginx]

# How the location in nginx speaks to us: bare, and as its documentation advises for keep-alive.
FRONTS = {
    "bare": "",
    "http/1.1": 'proxy_http_version 1.1; proxy_set_header Connection "";',
}

each_front = pytest.mark.parametrize("front", list(FRONTS))


@each_front
def test_nginx_in_front_does_not_buffer(
    front: str, backend: StartBackend, gateway: StartGateway, nginx: StartNginx, program: StartProgram
) -> None:
    source = backend(Script(TICKS, lockstep=True))
    url = nginx(gateway(event_route(source.url)).url, location=FRONTS[front]).url
    client = program(["curl", "-sS", "-N", url])
    for tick in TICKS:
        source.exchange().release()
        assert client.read_until(b"\n\n") == tick
    source.exchange().release()
    assert client.read_all() == b""
    assert client.wait() == 0, client.errors()


@each_front
def test_a_whole_chat_passes_nginx_in_front(
    front: str, backend: StartBackend, gateway: StartGateway, nginx: StartNginx, program: StartProgram
) -> None:
    recording = recordings.load("deepseek/chat-emoji-85ad")
    source = backend(Script.replay(recording))
    url = nginx(gateway(model_route(source.url)).url, location=FRONTS[front]).url
    client = program(["curl", "-sS", "-N", *ask_chat(url)])
    assert client.read_all() == recording.body
    assert client.wait() == 0, client.errors()


@each_front
@pytest.mark.parametrize("cut", list(PLAIN_CUTS))
def test_a_cut_behind_nginx_is_a_failure_for_curl(
    front: str, cut: str, backend: StartBackend, gateway: StartGateway, nginx: StartNginx, program: StartProgram
) -> None:
    script = PLAIN_CUTS[cut]()
    through = gateway(event_route(backend(script).url, 'clocks = { idle = "1s" }')).url
    client = program(["curl", "-sS", "-N", nginx(through, location=FRONTS[front]).url])
    client.read_all()
    assert client.wait() in CUT_OFF, client.errors()


@each_front
@pytest.mark.parametrize("inside", [False, True], ids=["between events", "inside an event"])
def test_a_cut_chat_behind_nginx_raises_in_the_sdk(
    front: str, inside: bool, backend: StartBackend, gateway: StartGateway, nginx: StartNginx
) -> None:
    events = recordings.load("deepseek/chat-emoji-85ad").events
    pieces = [*events[:10], events[10][:-9]] if inside else events[:10]
    through = gateway(model_route(backend(Script(pieces, ending=Ending.CLOSED)).url)).url
    (report,) = run_python([Job("chat", nginx(through, location=FRONTS[front]).url)])
    assert report.error is not None
    assert len(report.items) <= 10


@each_front
@pytest.mark.parametrize("head_waits", [True, False], ids=["before the head", "after the first event"])
def test_leaving_nginx_cancels_at_the_backend(
    front: str,
    head_waits: bool,
    backend: StartBackend,
    gateway: StartGateway,
    nginx: StartNginx,
    program: StartProgram,
) -> None:
    source = backend(Script(TICKS, lockstep=True, head_waits=head_waits))
    client = program(["curl", "-sS", "-N", nginx(gateway(event_route(source.url)).url, location=FRONTS[front]).url])
    if not head_waits:
        source.exchange().release()
        client.read_until(TICKS[0])
    source.exchange()
    client.stop()
    source.exchange().must_be_cancelled()


def test_nginx_behind_as_an_upstream(
    backend: StartBackend, gateway: StartGateway, nginx: StartNginx, program: StartProgram
) -> None:
    source = backend(Script(TICKS, lockstep=True))
    behind = nginx(source.url, location="proxy_http_version 1.1; proxy_buffering off;")
    client = program(["curl", "-sS", "-N", gateway(event_route(behind.url)).url])
    for tick in TICKS:
        source.exchange().release()
        assert client.read_until(b"\n\n") == tick
    source.exchange().release()
    assert client.read_all() == b""
    assert client.wait() == 0, client.errors()


def test_an_upstream_that_closes_after_a_few_requests_costs_none(
    backend: StartBackend, gateway: StartGateway, nginx: StartNginx
) -> None:
    source = backend(Script([b"ok"], content_type="text/plain", framing="length"))
    behind = nginx(source.url, server="keepalive_requests 3; keepalive_timeout 1s;", location="proxy_http_version 1.1;")
    url = gateway(event_route(behind.url)).url
    for _ in range(100):
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.status == 200
            assert answer.read() == b"ok"
    assert len(source.exchanges) == 100
