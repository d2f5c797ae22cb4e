"""The official SDKs on a route that keeps its answers: what they read is what they read without us.

Kept answers carry an id with each event, which no provider sends. The SDK of Google takes every line for
data, so that its dialect goes without.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

import recordings
from backend import Exchange, Script
from conftest import StartBackend, StartGateway
from gateway import model_route
from processes import LIMIT, Program
from sdks import CALLS, Job, Run, run_node, run_python

RESUME = "resume = true"

each_dialect = pytest.mark.parametrize("dialect", list(CALLS))


@pytest.fixture(params=["python", "node"])
def run(request: pytest.FixtureRequest, node: Callable[..., Program]) -> Run:
    """Runs jobs with the SDKs of one language."""
    if request.param == "python":
        return run_python
    return lambda jobs: run_node(node("sdks.mjs", stdin=True), jobs)


def by_model(exchange: Exchange) -> Script:
    """Answers with the recording that the request names as its model."""
    return Script.replay(recordings.load(json.loads(exchange.body)["model"]))


def answer_of(url: str, body: dict[str, Any]) -> tuple[str | None, bytes]:
    """The id of a kept answer, and the bytes of it."""
    ask = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=LIMIT) as answer:
        return answer.headers["Deltaway-Stream"], answer.read()


@each_dialect
def test_every_recorded_stream_reaches_the_sdk_as_without_us(
    dialect: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    names = recordings.streams(dialect)
    direct = backend(by_model).url
    kept = gateway(model_route(direct, RESUME)).url
    control = run([Job(CALLS[dialect], direct, name) for name in names])
    reports = run([Job(CALLS[dialect], kept, name) for name in names])
    for name, expected, report in zip(names, control, reports, strict=True):
        recording = recordings.load(name)
        assert report.items == expected.items, name
        if recording.finished or recording.failed:
            assert report.error == expected.error, name
        else:
            assert report.error is not None, f"{name} was recorded without its end"


@each_dialect
def test_each_event_has_an_id_to_come_back_with(dialect: str, backend: StartBackend, gateway: StartGateway) -> None:
    name = next(name for name in recordings.streams(dialect) if recordings.load(name).finished)
    recording = recordings.load(name)
    url = gateway(model_route(backend(by_model).url, RESUME)).url
    stream, body = answer_of(url + recording.path, {"model": name, "stream": True})
    events = recordings.events_of(body)
    for number, event in enumerate(events, 1):
        assert re.match(rb"id: [0-9a-hjkmnp-tv-z]{12}\.%d\n" % number, event), event
    assert recordings.payloads_of(body) == recording.payloads

    middle = len(events) // 2
    with urllib.request.urlopen(f"{url}/streams/{stream}?after={middle}", timeout=LIMIT) as rest:
        assert rest.read().endswith(b"".join(events[middle:]))


# --- Google's, whose calls name the model in the path.

GEMINI = [name for name in recordings.streams("gemini") if b'"finishReason"' in recordings.load(name).body]


def chunks_of(url: str, model: str) -> list[dict[str, Any]]:
    """What `google-genai` gives of a streamed answer; last the error it raises, if it does."""
    chunks = []
    options = types.HttpOptions(base_url=url, timeout=int(LIMIT * 1000))
    with genai.Client(api_key="caller-key", http_options=options) as client:
        stream = client.models.generate_content_stream(model=model, contents="Hello")
        try:
            for chunk in stream:
                chunks.append(chunk.model_dump(mode="json", exclude={"sdk_http_response"}))
        except errors.APIError as error:
            chunks.append({"raised": error.details})
    return chunks


@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
def test_google_genai_reads_kept_answers_as_without_us(backend: StartBackend, gateway: StartGateway) -> None:
    names = {name.replace("/", "-"): name for name in GEMINI}

    def answer(exchange: Exchange) -> Script:
        (model,) = re.findall(r"/models/([^:/]+):streamGenerateContent", exchange.target)
        return Script.replay(recordings.load(names[model]))

    direct = backend(answer).url
    config = f'[upstreams.google]\nurl = "{direct}"\n[routes.all]\npath = "/*"\nto = "google"\n{RESUME}\n'
    kept = gateway(config).url
    assert names
    failed = 0
    for model in names:
        expected = chunks_of(direct, model)
        assert expected, model
        failed += "raised" in expected[-1]
        assert chunks_of(kept, model) == expected, model
        stream, body = answer_of(f"{kept}/v1beta/models/{model}:streamGenerateContent?alt=sse", {"contents": []})
        assert stream
        assert re.search(rb"(?m)^id:", body) is None
    assert failed, "an error within a stream is raised as well"
