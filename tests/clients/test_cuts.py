"""EventSource, in Chromium and as the npm package, whose connections are cut at random again and again.

Whatever is read must come to it once each, in order, whether it is a shared feed, a topic or a kept answer.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backend import Ending, Exchange, Script
from browsing import OpenPage
from conftest import StartBackend, StartGateway
from cutter import Cutter
from gateway import event_route, model_route
from processes import LIMIT, Program

READERS = 3

# The longest that one of these tests may take, in seconds.
WITHIN = 60.0

# Reads with several EventSources until an event says "last", or until the answer is 204.
FOLLOW = """
((url, readers) => {
  const read = () => new Promise((resolve) => {
    const got = [];
    const ids = new Set();
    let opened = 0;
    const source = new EventSource(url);
    const stop = (how) => {
      const state = source.readyState;
      source.close();
      resolve({ got, ids: ids.size, opened, how, state });
    };
    source.onopen = () => { opened += 1; };
    source.onmessage = (event) => {
      got.push(event.data);
      ids.add(event.lastEventId);
      if (event.data === "last") stop("last");
    };
    source.addEventListener("gap", (event) => stop(`a gap: ${event.data}`));
    source.onerror = (event) => {
      if (event.data !== undefined) stop(`an error: ${event.data}`);
      else if (source.readyState === EventSource.CLOSED) stop("closed");
    };
  });
  return Promise.all(Array.from({ length: readers }, read));
})(%s, %d)
"""

# Seconds from one event to the next.
PAUSE = 0.002

Follow = Callable[[str], list[dict[str, Any]]]
StartCutter = Callable[..., Cutter]


@pytest.fixture(params=["chromium", "node"])
def follow(
    request: pytest.FixtureRequest, browse: OpenPage, node: Callable[..., Program], backend: StartBackend
) -> Follow:
    """Reads a URL with several EventSources of one kind, to the end."""

    def with_chromium(url: str) -> list[dict[str, Any]]:
        # A page of the same origin, which is let alone by the cutter as its URL is another.
        origin = url[: url.index("/", len("http://"))]
        return browse(f"{origin}/page", FOLLOW % (json.dumps(url), READERS)).result()

    def with_node(url: str) -> list[dict[str, Any]]:
        program = node("eventsource.mjs", stdin=True)
        assert program.process.stdin is not None
        program.process.stdin.write(json.dumps({"script": FOLLOW % (json.dumps(url), READERS)}).encode() + b"\n")
        program.process.stdin.flush()
        said = json.loads(program.read_until(b"\n", limit=WITHIN))
        assert "result" in said, said
        return said["result"]

    return with_chromium if request.param == "chromium" else with_node


# How many connections are cut.
CUTS = 200

BLANK = Script([b"<!doctype html><title>blank</title>"], content_type="text/html", framing="length")


def numbers(total: int) -> list[str]:
    """The data of the numbered events, with the one that ends them."""
    return [*map(str, range(total)), "last"]


def check(read: list[dict[str, Any]], sent: list[str], how: str = "last") -> None:
    """Every reader has everything once, in order, and came back more than once."""
    for one in read:
        assert one["how"] == how
        assert one["got"] == sent, first_difference(one["got"], sent)
        assert one["ids"] == len(sent), "each event has an id of its own"
        assert one["opened"] > 10, "it was cut"


def first_difference(got: list[str], sent: list[str]) -> str:
    """Where two lists part."""
    at = next((at for at, (left, right) in enumerate(zip(got, sent)) if left != right), min(len(got), len(sent)))
    return f"at {at} of {len(sent)}: {got[max(0, at - 2) : at + 3]} in place of {sent[max(0, at - 2) : at + 3]}"


# --- A shared feed.


def test_a_shared_feed_is_whole_however_often_its_readers_are_cut(
    follow: Follow, backend: StartBackend, gateway: StartGateway, cutter: StartCutter
) -> None:
    total: list[int] = []
    endings = [Ending.RESET, Ending.CLOSED, Ending.CLEAN]
    proxy: list[Cutter] = []

    def events(start: int, until: int | None) -> Iterator[bytes]:
        number = start
        while number != until and not proxy[0].done:
            yield b"retry: 10\nid: n%d\ndata: %d\n\n" % (number, number)
            number += 1
        if number != until:
            total.append(number)
            yield b"id: end\ndata: last\n\n"

    def answer(exchange: Exchange) -> Script:
        if exchange.target == "/page":
            return BLANK
        last = exchange.header("last-event-id")
        assert last != "end"
        start = int(last[1:]) + 1 if last else 0
        if not endings:
            return Script(events(start, None), pause=PAUSE, ending=Ending.SILENT)  # type: ignore[arg-type]
        return Script(events(start, start + 200), pause=PAUSE, ending=endings.pop(0))  # type: ignore[arg-type]

    source = backend(answer)
    config = (
        f'[upstreams.events]\nurl = "{source.url}"\n'
        '[routes.page]\npath = "/page"\nto = "events"\n'
        '[routes.feed]\npath = "/feed"\nto = "events"\n'
        '[routes.feed.share]\nstart = "oldest"\nhistory = { events = 100000, bytes = "64MiB" }\n'
    )
    proxy.append(cutter(gateway(config).port, "GET /feed", cuts=CUTS, spared=READERS))
    read = follow(f"{proxy[0].url}/feed")
    check(read, numbers(total[0]))
    feeds = [exchange for exchange in source.exchanges if exchange.target == "/feed"]
    assert len(feeds) == 4 - len(endings) > 2, "one for all readers, and another only when that dropped"


# --- A topic.


@contextmanager
def publishing(url: str, proxy: Cutter) -> Iterator[list[int]]:
    """Publishes numbers until enough was cut, then "last"; gives a list that will hold how many there were."""
    total: list[int] = []

    def publish(data: str) -> None:
        request = urllib.request.Request(url, data=data.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            assert len(json.load(answer)["ids"]) == 1

    def run() -> None:
        number, end = 0, time.monotonic() + WITHIN
        while not proxy.done and time.monotonic() < end:
            publish(str(number))
            number += 1
            # At a pace that the readers keep up with, so that cuts fall among new events and not into one long replay.
            time.sleep(PAUSE)
        total.append(number)
        publish("last")

    thread = threading.Thread(target=run, name="publisher")
    thread.start()
    try:
        yield total
    finally:
        thread.join(WITHIN)


TOPICS = """
[routes.topics]
path = "/topics/{topic}"
publish = "{topic}"
subscribe = "{topic}"

[topics."*"]
start = "oldest"
history = { events = 100000, bytes = "64MiB" }
"""


def test_a_topic_is_whole_however_often_its_readers_are_cut(
    follow: Follow, backend: StartBackend, gateway: StartGateway, cutter: StartCutter
) -> None:
    page = event_route(backend(BLANK).url).replace("/*", "/page")
    running = gateway(page + TOPICS)
    proxy = cutter(running.port, "GET /topics/numbers", cuts=CUTS, spared=READERS)
    with publishing(f"{running.url}/topics/numbers?retry=10", proxy) as total:
        read = follow(f"{proxy.url}/topics/numbers")
    check(read, numbers(total[0]))


# --- A kept answer.


def test_a_kept_answer_is_whole_however_often_its_readers_are_cut(
    follow: Follow, backend: StartBackend, gateway: StartGateway, cutter: StartCutter
) -> None:
    sent: list[str] = []
    proxy: list[Cutter] = []

    def event(delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        sent.append(json.dumps({"object": "chat.completion.chunk", "choices": [choice]}))
        return f"retry: 10\ndata: {sent[-1]}\n\n".encode()

    def events() -> Iterator[bytes]:
        yield event({"role": "assistant", "content": ""}, None)
        while not proxy or not proxy[0].done:
            yield event({"content": f"{len(sent)} "}, None)
        yield event({}, "stop")
        sent.append("[DONE]")
        yield b"data: [DONE]\n\n"

    def answer(exchange: Exchange) -> Script:
        return Script(events(), pause=0.002) if exchange.method == "POST" else BLANK  # type: ignore[arg-type]

    source = backend(answer)
    page = '[routes.page]\npath = "/page"\nto = "model"\n'
    running = gateway(model_route(source.url, '[routes.chat.resume]\non_leave = "finish"\n') + page)
    ask = urllib.request.Request(
        f"{running.url}/v1/chat/completions",
        data=b'{"model":"m","stream":true,"messages":[]}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(ask, timeout=LIMIT) as first:
        stream = first.headers["Deltaway-Stream"]
    proxy.append(cutter(running.port, "GET /streams/", cuts=CUTS, spared=READERS))
    read = follow(f"{proxy[0].url}/streams/{stream}?after=0")
    check(read, sent, how="closed")
    assert [one["state"] for one in read] == [2] * READERS, "it does not come back"
    assert proxy[0].answers[-1] == 204
    assert proxy[0].answers.count(204) >= READERS
