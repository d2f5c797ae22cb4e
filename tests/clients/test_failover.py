"""Failing backends together with the rest of the gateway: early heads, clocks, callers that leave, crowds."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

import callers
import recordings
from backend import Ending
from chains import FALLBACK_MODEL, RETRIES, chain, must_rest
from conftest import StartFaulty, StartGateway
from faulty import (
    TEXT,
    TOKENS,
    Play,
    Usage,
    answers,
    asked,
    cuts,
    goes_silent,
    rechunked,
    refuses,
    resets,
    says_nothing,
    starts_late,
)
from gateway import Gateway
from processes import LIMIT

FALLBACK_USAGE = Usage(prompt=13, completion=61)
EARLY = 'early_head = "100ms"'

each_way = pytest.mark.parametrize("kept", [False, True], ids=["relayed", "kept"])


# --- The head goes out before anybody has answered.


@each_way
@pytest.mark.parametrize(
    ("play", "clock"), [(says_nothing(), "first_byte"), (starts_late(20.0), "first_event")], ids=["6", "7"]
)
def test_behind_an_early_head_the_fallback_still_answers(
    play: Play, clock: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(play), faulty(answers(usage=FALLBACK_USAGE))
    route = f'{EARLY}\nheartbeat = "1s"\nclocks = {{ {clock} = "1500ms" }}'
    running = gateway(chain(primary, fallback, kept=kept, route=route))
    read = callers.read_chat(running.url)
    assert read.status == 200 and read.whole and read.text == TEXT and read.errors == []
    assert {payload["model"] for payload in read.payloads} == {FALLBACK_MODEL}
    assert (primary.attempts, fallback.attempts) == (1, 1)


@each_way
@pytest.mark.parametrize("rescue", ["rescue = true", ""], ids=["rescue", "no rescue"])
def test_behind_an_early_head_an_error_is_an_event(
    rescue: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    reason = "every GPU is on fire"
    # The head goes out while the pause that was asked for is waited for.
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error", retry_after=1), refuses(503, reason))
    heard = callers.chat(gateway(chain(primary, route=f"{EARLY}\n{rescue}", kept=kept)).url)
    assert heard.status is None, "the status had been sent"
    assert heard.text == "" and heard.finish is None
    assert isinstance(heard.error, openai.APIError) and not isinstance(heard.error, openai.APIConnectionError)
    assert reason in str(heard.error), f"the backend's own reason, not {heard.error!r}"


# --- Callers that leave.


@contextlib.contextmanager
def asking(gateway: Gateway) -> Iterator[socket.socket]:
    """A caller that has sent its request; it leaves at the end of the block."""
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT) as caller:
        caller.sendall(head.encode() + body)
        yield caller


def test_a_caller_that_leaves_in_a_pause_ends_the_retries(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary = faulty(refuses(503, "overloaded", retry_after=4))
    running = gateway(chain(primary))
    with asking(running):
        assert primary.exchange().done.wait(LIMIT)
    must_rest(running)
    assert primary.attempts == 1


def test_a_caller_that_leaves_a_silent_backend_cancels_it(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(says_nothing()), faulty(answers())
    running = gateway(chain(primary, fallback, route='clocks = { first_byte = "15s" }'))
    with asking(running):
        primary.exchange()
    primary.exchange().must_be_cancelled()
    must_rest(running)
    assert fallback.attempts == 0, "nobody is asked for a caller who is gone"


def test_a_caller_that_leaves_while_the_rest_is_asked_for_cancels_that(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(cuts(40)), faulty(says_nothing())
    running = gateway(chain(primary, fallback, route='rescue = true\nclocks = { first_byte = "15s" }'))
    with asking(running):
        fallback.exchange()
    fallback.exchange().must_be_cancelled()
    must_rest(running)


# --- The clock over all of it.


def test_no_pause_outlasts_the_total(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error", retry_after=4))
    heard = callers.chat(gateway(chain(primary, route='clocks = { total = "1s" }')).url)
    assert heard.status in (429, 504), f"{heard.error!r}"
    assert heard.seconds < 3.5
    assert primary.attempts == 1


def test_no_rescue_outlasts_the_total(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(cuts(40)), faulty(says_nothing())
    heard = callers.chat(gateway(chain(primary, fallback, route='rescue = true\nclocks = { total = "1s" }')).url)
    assert heard.text == "".join(TOKENS[:40]) and heard.finish is None
    assert isinstance(heard.error, openai.APIError)
    assert heard.seconds < 5


# --- Bodies.


def test_a_body_of_unknown_length_is_sent_again(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(resets()), faulty(answers())
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 100_000}]}
    text = json.dumps(body).encode()
    pieces = iter([text[start : start + 9_000] for start in range(0, len(text), 9_000)])
    read = callers.read_chat(gateway(chain(primary, fallback)).url, body=pieces)
    assert read.whole and read.text == TEXT
    assert asked(fallback.exchange()) == {**body, "model": FALLBACK_MODEL}


# --- A rescued answer that is kept is one answer to whoever reads it later.


def test_a_rescued_answer_can_be_read_again(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(cuts(40)), faulty(answers(rechunked(TEXT)))
    running = gateway(chain(primary, fallback, kept=True, route="rescue = true"))
    read = callers.read_chat(running.url)
    assert read.whole and read.text == TEXT
    with urllib.request.urlopen(f"{running.url}/streams/{read.headers['deltaway-stream']}", timeout=LIMIT) as answer:
        body = answer.read()
    payloads = recordings.payloads_of(body)
    assert recordings.text_of("openai-chat", payloads) == TEXT
    assert body.count(b"[DONE]") == 1
    ids = [line for line in body.split(b"\n") if line.startswith(b"id:")]
    assert len(ids) == len(set(ids)) > 60


# --- Many at once.


@each_way
def test_a_crowd_is_rescued_each_for_itself(kept: bool, faulty: StartFaulty, gateway: StartGateway) -> None:
    plays = [cuts(40), refuses(500, "a hiccup"), answers(), cuts(7, Ending.RESET), resets(), goes_silent(20)]
    primary, fallback = faulty(*plays * 8), faulty(answers(rechunked(TEXT)))
    route = 'rescue = true\nclocks = { idle = "2s" }'
    running = gateway(chain(primary, fallback, kept=kept, route=route))
    with ThreadPoolExecutor(12) as crowd:
        heard = list(crowd.map(lambda _: callers.chat(running.url), range(36)))
    for one in heard:
        assert one.error is None, f"{one.error!r}"
        assert one.text == TEXT and one.finish == "stop"
    must_rest(running)


def test_a_crowd_does_not_multiply_what_a_sick_backend_gets(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, primary_keys='eject = { after = 3, pause = "30s" }'))
    with ThreadPoolExecutor(8) as crowd:
        heard = list(crowd.map(lambda _: callers.chat(running.url), range(60)))
    assert all(one.error is None and one.text == TEXT and one.models == [FALLBACK_MODEL] for one in heard)
    # What is under way when it is left out may still come: one of each of the crowd, and its retries.
    assert 3 <= primary.attempts <= 3 + 8 * (1 + RETRIES)
