"""Headless Chromium: EventSource, `fetch` with a stream, CORS, and the page of the demo."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import recordings
from backend import Backend, Ending, Exchange, Script
from browsing import OpenPage
from conftest import StartBackend, StartGateway
from gateway import binary, event_route, model_route, status_of
from processes import LIMIT, ROOT, Program, accepts, free_port, until

# What the demo page asks unless told otherwise.
PROMPT = "What am I looking at?"

BLANK = Script([b"<!doctype html><title>blank</title>"], content_type="text/html", framing="length")

EVENT_SOURCE = """
new Promise((resolve) => {
  const source = new EventSource("/ticks");
  source.onopen = () => report("open");
  source.onerror = () => report("error");
  source.onmessage = (event) => {
    report({ data: event.data, id: event.lastEventId });
    if (event.data === "last") { source.close(); resolve("closed"); }
  };
})
"""

# Reads a POST's answer as it comes: a report for each read, and how it ended.
FETCH = """
(async (url) => {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ model: "m", stream: true, messages: [] }),
    });
  } catch (error) { return { refused: error.name }; }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return { ended: text, status: response.status };
      text += value;
      await report(text);
    }
  } catch (error) { return { broken: error.name }; }
})(%s)
"""


def ticks(source: Backend) -> list[Exchange]:
    """The requests for the event stream, in order (a page brings others of its own)."""
    return [exchange for exchange in source.exchanges if exchange.target == "/ticks"]


def tick(source: Backend, number: int) -> Exchange:
    """The request for the event stream with this number, once it has come."""
    until(lambda: len(ticks(source)) > number, f"request {number} for the event stream")
    return ticks(source)[number]


def test_event_source_gets_each_event_before_the_next_is_sent(
    browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    stream = Script([b"data: one\n\n", "data: zwei ½\n\n".encode(), b"data: last\n\n"], lockstep=True)
    source = backend(lambda exchange: stream if exchange.target == "/ticks" else BLANK)
    page = browse(gateway(event_route(source.url)).url, EVENT_SOURCE)
    assert page.report() == "open"
    for data in ("one", "zwei ½", "last"):
        tick(source, 0).release()
        assert page.report() == {"data": data, "id": ""}
    assert page.result() == "closed"
    tick(source, 0).must_be_cancelled()


def test_event_source_sees_heartbeats_as_nothing(
    browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    stream = Script([b"data: one\n\n", b"data: last\n\n"], lockstep=True)
    source = backend(lambda exchange: stream if exchange.target == "/ticks" else BLANK)
    page = browse(gateway(event_route(source.url, 'heartbeat = "1s"')).url, EVENT_SOURCE)
    assert page.report() == "open"
    tick(source, 0).release()
    assert page.report() == {"data": "one", "id": ""}
    page.wait_for_more_bytes(2 * len(b":\n\n"))
    tick(source, 0).release()
    assert page.report() == {"data": "last", "id": ""}
    assert page.result() == "closed"


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.CLOSED, Ending.CLEAN], ids=lambda ending: ending.name)
def test_event_source_comes_back_after_a_cut(
    ending: Ending, browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    first = Script([b"retry: 10\nid: 7\ndata: one\n\n"], lockstep=True, ending=ending)
    second = Script([b"id: 8\ndata: last\n\n"])

    def answer(exchange: Exchange) -> Script:
        if exchange.target != "/ticks":
            return BLANK
        return second if exchange.header("last-event-id") else first

    source = backend(answer)
    page = browse(gateway(event_route(source.url)).url, EVENT_SOURCE)
    assert page.report() == "open"
    tick(source, 0).release()
    assert page.report() == {"data": "one", "id": "7"}
    tick(source, 0).release()
    assert page.report() == "error"
    assert page.report() == "open"
    assert page.report() == {"data": "last", "id": "8"}
    assert tick(source, 1).header("last-event-id") == "7"
    assert page.result() == "closed"


def test_fetch_reads_a_post_as_it_comes(browse: OpenPage, backend: StartBackend, gateway: StartGateway) -> None:
    recording = recordings.load("llamacpp/chat-emoji-cjk-b1e9")
    source = backend(lambda exchange: Script.replay(recording, lockstep=True) if exchange.method == "POST" else BLANK)
    url = gateway(event_route(source.url)).url
    page = browse(url, FETCH % '"/v1/chat/completions"')
    chat = until(lambda: next((e for e in source.exchanges if e.method == "POST"), None), "the POST")
    for number in range(len(recording.events)):
        chat.release()
        sent = b"".join(recording.events[: number + 1]).decode()
        assert page.report() == sent
    chat.release()
    assert page.result() == {"ended": recording.body.decode(), "status": 200}


def test_a_cut_breaks_fetch(browse: OpenPage, backend: StartBackend, gateway: StartGateway) -> None:
    cut = Script([b"data: one\n\n"], lockstep=True, ending=Ending.CLOSED)
    source = backend(lambda exchange: cut if exchange.method == "POST" else BLANK)
    page = browse(gateway(event_route(source.url)).url, FETCH % '"/ticks"')
    until(lambda: ticks(source), "the POST")
    tick(source, 0).release()
    assert page.report() == "data: one\n\n"
    tick(source, 0).release()
    assert page.result() == {"broken": "TypeError"}


def test_cors_lets_the_configured_origin_in_and_no_other(
    browse: OpenPage, backend: StartBackend, gateway: StartGateway
) -> None:
    friend, stranger = backend(BLANK), backend(BLANK)
    recording = recordings.load("llamacpp/chat-emoji-cjk-b1e9")
    source = backend(Script.replay(recording))
    url = gateway(model_route(source.url, f'cors = {{ origins = ["{friend.url}"] }}')).url
    call = FETCH % json.dumps(f"{url}/v1/chat/completions")

    page = browse(friend.url, call)
    while (said := page._line()) and "result" not in said:
        assert "failure" not in said, said
    assert said["result"] == {"ended": recording.body.decode(), "status": 200}
    assert [exchange.method for exchange in source.exchanges] == ["POST"], "the preflight is answered by the gateway"

    assert browse(stranger.url, call).result() == {"refused": "TypeError"}
    assert [exchange.method for exchange in source.exchanges] == ["POST"]


DEMO_PAGE = """
(async () => {
  const text = (id) => document.getElementById(id).textContent.trim();
  const measured = (id) => /\\d/.test(text(id));
  const seen = new Set();
  document.getElementById("start").click();
  await new Promise((resolve) => {
    const check = () => {
      seen.add(text("output"));
      const done = document.getElementById("stop").hidden && measured("first") && measured("largest");
      if (done && measured("feed-count")) { observer.disconnect(); resolve(); }
    };
    const observer = new MutationObserver(check);
    observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    check();
  });
  return {
    texts: [...seen],
    first: text("first"), count: text("count"), median: text("median"), largest: text("largest"),
    error: document.getElementById("error").hidden ? null : text("error"),
  };
})()
"""


# Cuts the connection after some tokens, comes back, and reads to the end.
CUT_AND_BACK = """
(async () => {
  const at = (id) => document.getElementById(id);
  const until = (condition) => new Promise((resolve) => {
    const check = () => {
      if (!condition()) return;
      observer.disconnect();
      resolve();
    };
    const observer = new MutationObserver(check);
    observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    check();
  });
  const tokens = () => at("output").querySelectorAll(".token").length;
  const over = () => at("start").hidden === false && at("stop").hidden;
  if (%s) {
    at("start").click();
    await until(() => tokens() >= 5 && !at("cut").hidden);
    at("cut").click();
    await until(() => !at("back").hidden);
    await report({ text: at("output").textContent, tokens: tokens(), watch: at("watch").href });
    at("back").click();
    await until(() => at("back").hidden);
  }
  await until(() => tokens() > 0 && over());
  return {
    text: at("output").textContent,
    status: at("status").textContent.trim(),
    error: at("error").hidden ? null : at("error-message").textContent,
  };
})()
"""


@pytest.fixture
def demo(program: Callable[..., Program]) -> str:
    """The URL of a gateway with the shipped configuration."""
    until(lambda: not accepts(9090), "port 9090, where the shipped configuration's admin listener goes, to be free")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    running = program(
        [binary(), "--config", ROOT / "config" / "deltaway.toml", "--listen", f"127.0.0.1:{port}"], read=False
    )

    def up() -> bool:
        assert running.process.poll() is None, running.errors()
        return status_of(url) == 200

    until(up, "the demo page")
    return url


def picture_of(name: str) -> Path:
    """Where a screenshot goes."""
    picture = ROOT / "target" / "clients" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    return picture


def test_the_demo_page_shows_a_stream_and_its_times(browse: OpenPage, demo: str) -> None:
    picture = picture_of("demo-page")
    shown = browse(demo, DEMO_PAGE, screenshot=picture).result()
    assert shown["error"] is None
    assert len(shown["texts"]) > 3, "the answer grows before the reader's eyes"
    assert any(unit in shown["first"] for unit in ("ms", "s")), shown
    assert int(shown["count"].replace(",", "")) > 3, shown
    assert picture.stat().st_size > 10_000


def test_the_demo_page_comes_back_to_an_answer_that_was_cut(browse: OpenPage, demo: str) -> None:
    page = browse(demo, CUT_AND_BACK % "true", screenshot=picture_of("demo-back"))
    cut = page.report()
    watching = browse(cut["watch"], CUT_AND_BACK % "false", screenshot=picture_of("demo-watch"))
    back, watched = page.result(), watching.result()

    body = json.dumps({"model": "demo", "stream": True, "messages": [{"role": "user", "content": PROMPT}]})
    headers = {"Content-Type": "application/json"}
    ask = urllib.request.Request(f"{demo}/v1/chat/completions", body.encode(), headers)
    with urllib.request.urlopen(ask, timeout=LIMIT) as answer:
        whole = recordings.text_of("openai-chat", recordings.payloads_of(answer.read()))
    assert len(cut["text"]) < len(whole)
    assert whole.startswith(cut["text"])
    for shown in (back, watched):
        assert shown["error"] is None
        assert shown["text"] == whole
        assert shown["status"].startswith("Complete"), shown["status"]
