"""The official OpenAI and Anthropic SDKs, in Python and Node, against the gateway.

Three promises are tried: a whole answer reaches the SDK exactly as it would without us; an answer
that was cut makes the SDK raise, never end as if all were well; a refusal of ours shows as the
exception that the SDK has for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

import recordings
from backend import Ending, Exchange, Script
from conftest import StartBackend, StartGateway
from gateway import model_route
from processes import Program
from sdks import CALLS, Job, Report, Run, run_node, run_python

DIALECTS = list(CALLS)

# One stream of each dialect, long enough to be cut in the middle of its text.
SAMPLES = {
    "openai-chat": "deepseek/chat-emoji-85ad",
    "openai-responses": "github-copilot/responses-reasoning-32f6",
    "anthropic-messages": "anthropic/messages-text-716c",
}

each_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(params=["python", "node"])
def run(request: pytest.FixtureRequest, node: Callable[..., Program]) -> Run:
    """Runs jobs with the SDKs of one language."""
    if request.param == "python":
        return run_python
    return lambda jobs: run_node(node("sdks.mjs", stdin=True), jobs)


def by_model(exchange: Exchange) -> Script:
    """Answers with the recording that the request names as its model."""
    return Script.replay(recordings.load(json.loads(exchange.body)["model"]))


def text_of(dialect: str, report: Report) -> str:
    """The text that reached the SDK's user."""
    return recordings.text_of(dialect, report.items)


# --- Without the gateway: the control, which shows that backend and drivers are faithful.


@each_dialect
def test_direct_sdk_reads_what_the_recording_says(dialect: str, run: Run, backend: StartBackend) -> None:
    names = [name for name in recordings.streams(dialect) if not recordings.load(name).failed]
    url = backend(by_model).url
    reports = run([Job(CALLS[dialect], url, name) for name in names])
    for name, report in zip(names, reports, strict=True):
        assert report.error is None, name
        assert text_of(dialect, report) == recordings.load(name).text, name


# --- Whole answers.


@each_dialect
def test_every_recorded_stream_reaches_the_sdk_as_without_us(
    dialect: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    names = recordings.streams(dialect)
    direct = backend(by_model).url
    through = gateway(model_route(direct)).url
    control = run([Job(CALLS[dialect], direct, name) for name in names])
    reports = run([Job(CALLS[dialect], through, name) for name in names])
    for name, expected, report in zip(names, control, reports, strict=True):
        recording = recordings.load(name)
        assert report.items == expected.items, name
        if recording.finished or recording.failed:
            assert report.error == expected.error, name
        else:
            assert report.error is not None, f"{name} was recorded without its end"
    assert any(report.items for report in reports)


@each_dialect
def test_every_recorded_document_reaches_the_sdk_as_without_us(
    dialect: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    names = recordings.answers(dialect)
    direct = backend(by_model).url
    through = gateway(model_route(direct)).url
    control = run([Job(CALLS[dialect], direct, name, stream=False) for name in names])
    reports = run([Job(CALLS[dialect], through, name, stream=False) for name in names])
    assert reports == control
    assert all(report.error is None for report in reports)


@each_dialect
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_have_nothing_to_do_with_events(
    dialect: str, size: int, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES[dialect])
    source = backend(Script.replay(recording).chopped(size))
    (report,) = run_python([Job(CALLS[dialect], gateway(model_route(source.url)).url)])
    assert report.error is None
    assert text_of(dialect, report) == recording.text


@pytest.mark.parametrize(
    "habit",
    ["crlf", "no space", "comments first", "no [DONE]"],
)
def test_habits_of_other_servers_do_not_show(
    habit: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES["openai-chat"])
    body = {
        "crlf": recording.body.replace(b"\n", b"\r\n"),
        "no space": recording.body.replace(b"data: ", b"data:"),
        "comments first": b": one\n\n:two\n\n" + recording.body,
        "no [DONE]": recording.body.replace(b"data: [DONE]\n\n", b""),
    }[habit]
    assert body != recording.body
    source = backend(Script(recordings.events_of(body)))
    (report,) = run([Job("chat", gateway(model_route(source.url)).url)])
    assert report.error is None
    assert text_of("openai-chat", report) == recording.text


# --- Cut answers.

CUTS = {
    "closed without the last chunk": lambda script, n: script.cut(n, Ending.CLOSED),
    "reset": lambda script, n: script.cut(n, Ending.RESET),
    "ended properly, but unfinished": lambda script, n: script.cut(n, Ending.CLEAN),
    "close-framed and unfinished": lambda script, n: replace(script, framing="close").cut(n, Ending.CLEAN),
    "silent beyond the idle limit": lambda script, n: script.cut(n, Ending.SILENT),
}


@each_dialect
@pytest.mark.parametrize("cut", list(CUTS))
def test_a_cut_between_events_raises_in_the_sdk(
    dialect: str, cut: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES[dialect])
    kept = len(recording.events) // 2
    source = backend(CUTS[cut](Script.replay(recording), kept))
    (report,) = run([Job(CALLS[dialect], gateway(model_route(source.url, 'clocks = { idle = "1s" }')).url)])

    assert report.error is not None, "a cut answer must not look whole"
    # The SDK's own error for an event that reports one, not a broken connection.
    assert "APIError" in report.error.classes, report.error
    assert "APIConnectionError" not in report.error.classes, report.error
    assert report.error.message
    sent = recordings.payloads_of(b"".join(recording.events[:kept]))
    assert text_of(dialect, report) == recordings.text_of(dialect, sent), "what was sent before the cut arrives"


@each_dialect
@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.RESET, Ending.SILENT], ids=lambda ending: ending.name)
def test_a_cut_inside_an_event_raises_in_the_sdk(
    dialect: str, ending: Ending, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES[dialect])
    kept = len(recording.events) // 2
    begun = recording.events[kept][:-9]
    script = Script([*recording.events[:kept], begun], ending=ending)
    (report,) = run([Job(CALLS[dialect], gateway(model_route(backend(script).url, 'clocks = { idle = "1s" }')).url)])

    assert report.error is not None, "a cut answer must not look whole"
    whole = recordings.text_of(dialect, recording.payloads)
    assert whole.startswith(text_of(dialect, report)), "nothing was made up"


# --- Refusals.

EXCEPTIONS = {401: "AuthenticationError", 404: "NotFoundError", 502: "InternalServerError", 503: "InternalServerError"}


def refused(run: Run, dialect: str, url: str, status: int, *, key: str = "caller-key", stream: bool = True) -> str:
    """Expects the SDK's exception for `status`, and gives its message."""
    (report,) = run([Job(CALLS[dialect], url, key=key, stream=stream)])
    assert report.error is not None
    assert report.error.status == status, report.error
    assert EXCEPTIONS[status] in report.error.classes, report.error
    return report.error.message


@each_dialect
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_no_route_is_the_sdks_not_found(dialect: str, stream: bool, run: Run, gateway: StartGateway) -> None:
    config = '[upstreams.model]\nurl = "http://127.0.0.1:9"\n[routes.other]\npath = "/other"\nto = "model"\n'
    assert "route" in refused(run, dialect, gateway(config).url, 404, stream=stream)


@each_dialect
def test_a_missing_secret_is_a_503_that_names_the_variable(dialect: str, run: Run, gateway: StartGateway) -> None:
    config = (
        '[upstreams.model]\nurl = "http://127.0.0.1:9"\ncredentials = { bearer = "${A_KEY_THAT_NOBODY_SET:-}" }\n'
        '[routes.chat]\npath = "/v1/*"\nto = "model"\n'
    )
    assert "A_KEY_THAT_NOBODY_SET" in refused(run, dialect, gateway(config).url, 503)


@each_dialect
def test_a_wrong_key_is_the_sdks_authentication_error(
    dialect: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES[dialect])
    source = backend(Script.replay(recording))
    url = gateway(
        '[keys.team]\nvalue = "the-right-key"\n' + model_route(source.url, 'allow = ["team"]')
    ).url
    message = refused(run, dialect, url, 401, key="the-wrong-key")
    assert message
    assert "the-wrong-key" not in message and "the-right-key" not in message
    assert source.exchanges == [], "a refused call costs nothing"

    (report,) = run([Job(CALLS[dialect], url, key="the-right-key")])
    assert report.error is None
    assert text_of(dialect, report) == recording.text


@each_dialect
def test_a_refused_connection_is_the_sdks_server_error(dialect: str, run: Run, gateway: StartGateway) -> None:
    # Port 9 (discard) of the loopback: nothing listens there.
    assert refused(run, dialect, gateway(model_route("http://127.0.0.1:9")).url, 502)


@pytest.mark.parametrize(
    "name", ["openai/chat-400-0c36", "deepseek/chat-401-4c2d", "groq/chat-429-d723", "openai/responses-400-6a2d"]
)
def test_the_backends_own_refusal_is_passed_on(
    name: str, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(name)
    source = backend(Script.replay(recording))
    call = CALLS[recording.dialect]
    direct, through = run([Job(call, source.url), Job(call, gateway(model_route(source.url)).url)])
    assert through == direct
    assert through.error is not None
    assert through.error.status == recording.status


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_an_error_with_status_200_raises(
    stream: bool, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    error = b'{"error":{"message":"the model is loading","type":"server_error","code":null}}'
    source = backend(Script([error], content_type="application/json", framing="length"))
    assert "the model is loading" in refused(run, "openai-chat", gateway(model_route(source.url)).url, 502, stream=stream)


# --- Leaving.


@each_dialect
@pytest.mark.parametrize("pieces", [3, 10])
def test_leaving_early_cancels_at_the_backend(
    dialect: str, pieces: int, run: Run, backend: StartBackend, gateway: StartGateway
) -> None:
    recording = recordings.load(SAMPLES[dialect])
    source = backend(Script.replay(recording).cut(pieces, Ending.SILENT))
    (report,) = run([Job(CALLS[dialect], gateway(model_route(source.url)).url, leave_after=2)])
    assert report.left
    source.exchange().must_be_cancelled()
