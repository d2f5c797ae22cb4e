"""uvicorn and Express as backends: their chunks, and connections that they close under a request."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

import recordings
from conftest import StartGateway
from gateway import event_route
from processes import LIMIT, NODE

HERE = Path(__file__).resolve().parent
SERVERS = {
    "uvicorn": [sys.executable, HERE / "servers" / "uvicorn_app.py"],
    "express": ["node", NODE / "express.mjs"],
}

# Of several dialects and line ends, with comments and characters of several bytes.
STREAMS = [
    "llamacpp/chat-emoji-cjk-b1e9",
    "perplexity/chat-citations-emoji-crlf-nodone-d39f",
    "openrouter/chat-comments-b06b",
    "anthropic/messages-tools-cjk-31d0",
    "openai/responses-text-f0fc",
]

CHAT = json.dumps({"model": "m", "stream": True, "messages": []})

each_server = pytest.mark.parametrize("server", list(SERVERS))


def fetch(url: str, method: str = "GET", body: str | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own; a body that was cut raises."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=LIMIT)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def replay(url: str, name: str, size: int) -> str:
    """The address of a recording in chunks of `size`."""
    return f"{url}/replay?recording={quote(name)}&size={size}"


@each_server
def test_direct_servers_send_what_was_recorded(server: str, serve: Callable[..., str]) -> None:
    url = serve(*SERVERS[server], env={"KEEP_ALIVE_SECONDS": "5"})
    for name in STREAMS:
        assert fetch(replay(url, name, 100)) == (200, recordings.load(name).body)


@each_server
@pytest.mark.parametrize("size", [3, 100, 1_000_000], ids=["many chunks an event", "some", "one chunk"])
def test_streams_of_frameworks_stay_intact(
    server: str, size: int, serve: Callable[..., str], gateway: StartGateway
) -> None:
    url = gateway(event_route(serve(*SERVERS[server], env={"KEEP_ALIVE_SECONDS": "5"}))).url
    for name in STREAMS:
        assert fetch(replay(url, name, size)) == (200, recordings.load(name).body), name


@each_server
@pytest.mark.parametrize(
    ("keep_alive", "rests"),
    [(1, [0.9, 0.97, 0.99, 1.0, 1.005, 1.01, 1.02, 1.05, 1.1]), (5, [4.99, 5.0, 5.01])],
    ids=["1 s", "5 s, the default"],
)
def test_connections_closed_by_the_server_cost_no_request(
    server: str, keep_alive: int, rests: list[float], serve: Callable[..., str], gateway: StartGateway
) -> None:
    """The rests are the attack, not a wait: each ends about when the server closes what we keep."""
    url = gateway(event_route(serve(*SERVERS[server], env={"KEEP_ALIVE_SECONDS": str(keep_alive)}))).url

    def request(number: int) -> int:
        if number % 2:
            status, body = fetch(f"{url}/v1/chat/completions", "POST", CHAT)
            assert body.endswith(b"data: [DONE]\n\n"), body
            port = recordings.payloads_of(body)[0]["choices"][0]["delta"]["content"]
        else:
            status, body = fetch(f"{url}/who")
            port = json.loads(body)["port"]
        assert status == 200
        return int(port)

    rounds = [0.0, *rests]
    ports: list[int] = []
    clients = ThreadPoolExecutor(10)
    try:
        for rest in rounds:
            time.sleep(rest)
            ports += clients.map(request, range(500 // len(rounds) + 1))
    finally:
        clients.shutdown(cancel_futures=True)
    assert len(ports) >= 500
    assert len(set(ports)) < len(ports) // 2, "connections are used again"
