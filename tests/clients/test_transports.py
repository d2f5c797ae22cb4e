"""One stream over every transport, with the clients that people have: the same events, with the same ids.

A reader may change its transport wherever it stands: the id of the last event is the cursor of all.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from backend import Exchange, Script
from browsing import OpenPage
from conftest import StartBackend, StartGateway
from gateway import Gateway, event_route, model_route
from processes import LIMIT, until

BLANK = Script([b"<!doctype html><title>blank</title>"], content_type="text/html", framing="length")

TOPIC = "/topics/news"

TOPICS = """
[routes.topics]
path = "/topics/{topic}"
publish = "{topic}"
subscribe = "{topic}"

[topics."*"]
start = "oldest"
"""

# What is published: a name or none, data of all kinds, an id of the publisher's own or none.
NEWS: list[dict[str, Any]] = [
    {"data": "one"},
    {"data": "two\nlines", "event": "pair"},
    {"data": "zwei ½ 😀 \u2028"},
    {"data": ' {"a": "b\\"c"}', "event": "json"},
    {"data": "own", "id": "order 7"},
    {"data": ""},
    *({"data": f"{number} " + "x" * 3000} for number in range(40)),
    {"data": "last"},
]


@dataclass(frozen=True)
class Event:
    """One event as a reader got it."""

    id: str
    event: str
    data: str

    @classmethod
    def of(cls, value: dict[str, Any]) -> Event:
        """From its JSON."""
        assert set(value) <= {"id", "event", "data"}, value
        assert value.get("event") != "message", "the name that all have without one is left out"
        return cls(value["id"], value.get("event", "message"), value["data"])


Read = Callable[[str], Iterator[Event]]


def sse(url: str) -> Iterator[Event]:
    """Over Server-Sent Events, with `httpx`."""
    with httpx.stream("GET", url, timeout=LIMIT) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        yield from events_of(answer.iter_raw())


def events_of(pieces: Iterator[bytes]) -> Iterator[Event]:
    """Reads an event stream as WHATWG HTML has it, as far as what is sent here needs that."""
    rest, last = b"", ""
    for piece in pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            fields = [line.partition(": ")[::2] for line in block.decode().split("\n")]
            last = dict(fields).get("id", last)
            data = [value for name, value in fields if name.rstrip(":") == "data"]
            if data:
                yield Event(last, dict(fields).get("event", "message"), "\n".join(data))


def ndjson(url: str) -> Iterator[Event]:
    """Over lines of JSON, with `requests`."""
    with requests.get(url, headers={"Accept": "application/x-ndjson"}, stream=True, timeout=LIMIT) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        for line in answer.iter_lines(chunk_size=1):
            if line:
                yield Event.of(json.loads(line))


def poll(url: str, transport: str = "poll") -> Iterator[Event]:
    """By asking again and again with `requests`, from the cursor of the answer before."""
    parameters = {"transport": transport}
    while True:
        answer = requests.get(url, params=parameters, timeout=LIMIT)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        said = answer.json()
        assert set(said) == {"events", "cursor", "closed"}
        yield from map(Event.of, said["events"])
        if said["closed"]:
            return
        url, parameters["cursor"] = url.split("?")[0], said["cursor"]


def long_poll(url: str) -> Iterator[Event]:
    """By asking again and again, each time until there is something."""
    return poll(url, "long-poll")


def websocket(url: str) -> Iterator[Event]:
    """Over a WebSocket, with `websockets`."""
    with connect(url.replace("http:", "ws:"), open_timeout=LIMIT, max_queue=None) as socket:
        while True:
            try:
                message = socket.recv(LIMIT)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == 1000, closed
                return
            assert isinstance(message, str)
            yield Event.of(json.loads(message))


TRANSPORTS: dict[str, Read] = {
    "sse": sse,
    "ndjson": ndjson,
    "poll": poll,
    "long-poll": long_poll,
    "websocket": websocket,
}


def publish(gateway: Gateway, events: list[dict[str, Any]]) -> list[Event]:
    """Publishes, and gives the events as every reader is to get them."""
    body = "".join(json.dumps(event) + "\n" for event in events)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = requests.post(gateway.url + TOPIC, body.encode(), headers=headers, timeout=LIMIT)
    assert answer.status_code == 200, answer.text
    ids = answer.json()["ids"]
    return [
        Event(event.get("id", id_), event.get("event", "message"), event["data"])
        for id_, event in zip(ids, events, strict=True)
    ]


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_every_transport_gives_the_same_events(transport: str, gateway: StartGateway) -> None:
    running = gateway(TOPICS)
    sent = publish(running, NEWS)
    read = TRANSPORTS[transport]
    assert list(islice(read(running.url + TOPIC), len(sent))) == sent
    for at in (0, 4, 20):
        rest = read(f"{running.url}{TOPIC}?last_event_id={quote(sent[at].id)}")
        assert list(islice(rest, len(sent) - at - 1)) == sent[at + 1 :]


@pytest.mark.parametrize("transport", [name for name in TRANSPORTS if name != "poll"])
def test_what_is_published_later_comes_too(transport: str, gateway: StartGateway) -> None:
    running = gateway(TOPICS)
    sent = publish(running, NEWS[:3])
    events = TRANSPORTS[transport](running.url + TOPIC)
    assert list(islice(events, 3)) == sent
    got: list[Event] = []
    reader = threading.Thread(target=lambda: got.append(next(events)))
    reader.start()
    until(lambda: subscribers(running) == 1, "the reader to wait")
    (later,) = publish(running, NEWS[3:4])
    reader.join(LIMIT)
    assert got == [later]


def subscribers(gateway: Gateway) -> int:
    """How many subscriptions are open."""
    with urllib.request.urlopen(f"{gateway.admin_url}/metrics", timeout=LIMIT) as answer:
        lines = answer.read().decode().splitlines()
    found = [line.split() for line in lines if line.startswith("deltaway_subscribers")]
    return sum(int(float(count)) for _, count in found)


def test_a_reader_goes_from_one_transport_to_another(gateway: StartGateway) -> None:
    running = gateway(TOPICS)
    sent = publish(running, NEWS)
    url = running.url + TOPIC
    got: list[Event] = []
    for read, count in [(sse, 12), (poll, 9), (websocket, 8), (long_poll, 7), (ndjson, 6)]:
        after = f"?last_event_id={quote(got[-1].id)}" if got else ""
        got += islice(read(url + after), count)
    assert got == sent[: len(got)]

    # What comes while nobody is there waits for the reader, by whatever it comes back.
    sent += publish(running, [{"data": "later"}])
    rest = list(islice(websocket(f"{url}?cursor={quote(got[-1].id)}"), len(sent) - len(got)))
    assert got + rest == sent


IN_A_BROWSER = """
new Promise((resolve) => {
  const got = [];
  const read = (after) => {
    const socket = new WebSocket(`ws://${location.host}/topics/news${after}`);
    socket.onerror = () => resolve({ failure: "an error", got });
    socket.onmessage = ({ data }) => {
      got.push(JSON.parse(data));
      if (got.at(-1).data === "last") {
        socket.onclose = ({ code, wasClean }) => resolve({ got, code, wasClean });
        socket.close(1000);
      } else if (got.length === 5) {
        socket.onmessage = null;
        socket.close();
        read(`?cursor=${encodeURIComponent(got.at(-1).id)}`);
      }
    };
  };
  read("");
})
"""


def test_a_browsers_websocket_gets_the_same_events(
    browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    running = gateway(event_route(backend(BLANK).url).replace("/*", "/page") + TOPICS)
    sent = publish(running, NEWS)
    said = browse(f"{running.url}/page", IN_A_BROWSER).result()
    assert [Event.of(event) for event in said["got"]] == sent
    assert said["wasClean"] and said["code"] == 1000


REFUSED = """
new Promise((resolve) => {
  const socket = new WebSocket("%s");
  socket.onopen = () => resolve("open");
  socket.onerror = () => resolve("refused");
})
"""


def test_a_browsers_websocket_of_another_origin_is_refused(
    browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    running = gateway(TOPICS)
    url = running.url.replace("http:", "ws:") + TOPIC
    assert browse(backend(BLANK).url, REFUSED % url).result() == "refused"


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_a_kept_answer_ends_over_every_transport(
    transport: str, backend: StartBackend, gateway: StartGateway
) -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": f"{number} "}}]} for number in range(30)]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    payloads = [*map(json.dumps, chunks), "[DONE]"]

    def answer(exchange: Exchange) -> Script:
        return Script([f"data: {payload}\n\n".encode() for payload in payloads])

    running = gateway(model_route(backend(answer).url, "resume = true"))
    body = {"model": "m", "stream": True, "messages": []}
    first = requests.post(f"{running.url}/v1/chat/completions", json=body, timeout=LIMIT)
    url = f"{running.url}/streams/{first.headers['Deltaway-Stream']}"
    sent = list(events_of(iter([first.content])))
    assert [event.data for event in sent] == payloads
    read = TRANSPORTS[transport]
    assert list(read(f"{url}?after=0")) == sent
    assert list(read(f"{url}?last_event_id={sent[9].id}")) == sent[10:]
