"""A route that rescues changes nothing of answers that need no rescue, and makes whole ones of recorded ones that broke."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import recordings
from backend import Ending, Exchange, Script
from conftest import StartBackend, StartGateway
from recordings import Recording
from sdks import CALLS, Job, run_python

each_dialect = pytest.mark.parametrize("dialect", list(CALLS))


def by_model(exchange: Exchange) -> Script:
    """Answers with the recording that the request names as its model."""
    return Script.replay(recordings.load(json.loads(exchange.body)["model"]))


def before_the_cut(recording: Recording) -> int:
    """How many of its events come before it is cut."""
    return 2 * len(recording.events) // 3


def cut_by_model(exchange: Exchange) -> Script:
    """The same, cut after two thirds of its events."""
    recording = recordings.load(json.loads(exchange.body)["model"])
    return Script.replay(recording).cut(before_the_cut(recording), Ending.RESET)


def ends_behind_the_cut(recording: Recording) -> bool:
    """Whether a recording says that it ends, and not before the cut: some hold several answers."""
    begun = replace(recording, body=b"".join(recording.events[: before_the_cut(recording)]))
    return recording.finished and not recording.failed and not begun.finished and begun.text != ""


def rescuing(primary: str, fallback: str) -> str:
    """A route from `primary` to `fallback` that rescues."""
    return (
        f'[upstreams.primary]\nurl = "{primary}"\neject = false\n[upstreams.fallback]\nurl = "{fallback}"\n'
        '[routes.chat]\npath = "/v1/*"\nto = ["primary", "fallback"]\nrescue = true\n'
    )


@each_dialect
def test_whole_answers_are_what_they_are_without_us(
    dialect: str, backend: StartBackend, gateway: StartGateway
) -> None:
    names = [name for name in recordings.streams(dialect) if not recordings.load(name).failed]
    direct, never = backend(by_model).url, backend(by_model)
    control = run_python([Job(CALLS[dialect], direct, name) for name in names])
    through = gateway(rescuing(direct, never.url)).url
    for name, expected, report in zip(
        names, control, run_python([Job(CALLS[dialect], through, name) for name in names]), strict=True
    ):
        if recordings.load(name).finished:
            assert report == expected, name
    unfinished = sum(not recordings.load(name).finished for name in names)
    assert len(never.exchanges) <= 2 * unfinished


@each_dialect
def test_cut_answers_are_whole_or_end_in_an_error_and_say_nothing_twice(
    dialect: str, backend: StartBackend, gateway: StartGateway
) -> None:
    names = [name for name in recordings.streams(dialect) if ends_behind_the_cut(recordings.load(name))]
    through = gateway(rescuing(backend(cut_by_model).url, backend(by_model).url)).url
    whole = []
    for name, report in zip(names, run_python([Job(CALLS[dialect], through, name) for name in names]), strict=True):
        recording = recordings.load(name)
        said = recordings.text_of(dialect, report.items)
        if report.error is None:
            assert said == recording.text, name
            assert ends(dialect, report.items) == ends(dialect, recording.payloads), name
            whole.append(name)
        else:
            assert "APIError" in report.error.classes and "APIConnectionError" not in report.error.classes, name
            assert recording.text.startswith(said), name
    if dialect == "openai-responses":
        assert not whole, "these are not rescued"
    else:
        assert len(whole) > len(names) / 4, f"{len(whole)} of {len(names)}"


def ends(dialect: str, items: list[dict[str, object]]) -> list[object]:
    """Why the answer ended, as often as it says so."""
    if dialect == "openai-chat":
        choices = [choice for item in items for choice in item.get("choices") or []]  # type: ignore[attr-defined]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return [item["delta"]["stop_reason"] for item in items if item.get("type") == "message_delta"]  # type: ignore[index]
