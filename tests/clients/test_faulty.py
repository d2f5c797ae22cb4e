"""The faulty backend itself: without a gateway, each fault shows as that fault to an official SDK."""

from __future__ import annotations

import http.client
import time

import httpx
import pytest

import callers
from backend import Ending
from conftest import StartFaulty
from faulty import (
    PREFILL_REFUSAL,
    REPORTED,
    TEXT,
    TOKENS,
    answers,
    babbles,
    continues,
    cuts,
    forgets_done,
    goes_silent,
    rechunked,
    refuses,
    refuses_prefill,
    reports,
    resets,
    says_nothing,
    starts_late,
)
from recordings import payloads_of, text_of

speakers = pytest.mark.parametrize("ask", [callers.chat, callers.messages], ids=["chat", "messages"])


@speakers
def test_an_answer_is_whole(ask: callers.Ask, faulty: StartFaulty) -> None:
    heard = ask(faulty(answers(rechunked(TEXT))).url)
    assert heard.error is None
    assert heard.text == TEXT
    assert heard.finish in ("stop", "end_turn")
    assert heard.models == [callers.MODEL]
    assert (heard.prompt, heard.completion) == (11, 60)


@speakers
def test_refusals_come_in_turn_and_the_last_play_stays(ask: callers.Ask, faulty: StartFaulty) -> None:
    source = faulty(refuses(429, "slow down", retry_after=2), refuses(503, "too busy"), answers())
    heard = [ask(source.url) for _ in range(4)]
    assert [one.status for one in heard] == [429, 503, None, None]
    assert "slow down" in str(heard[0].error) and "too busy" in str(heard[1].error)
    assert heard[2].text == heard[3].text == TEXT
    assert source.attempts == 4 and all(gap > 0 for gap in source.gaps)

    source.become(refuses(500, "broken"))
    assert ask(source.url).status == 500


@speakers
def test_a_reset_before_any_byte_is_no_answer(ask: callers.Ask, faulty: StartFaulty) -> None:
    heard = ask(faulty(resets()).url)
    assert heard.error is not None and heard.status is None
    assert "APIConnectionError" in type(heard.error).__name__


def test_silence_has_no_head_and_a_late_answer_has_one(faulty: StartFaulty) -> None:
    for play, headed in [(says_nothing(), False), (starts_late(20.0), True)]:
        source = faulty(play)
        connection = http.client.HTTPConnection("127.0.0.1", source.port, timeout=0.5)
        connection.request("POST", "/v1/chat/completions", b'{"model":"m","messages":[{"role":"user"}]}')
        if headed:
            answer = connection.getresponse()
            assert answer.status == 200
            with pytest.raises(TimeoutError):
                answer.read1()
            answer.close()
        else:
            with pytest.raises(TimeoutError):
                connection.getresponse()
        connection.close()
        source.exchange().must_be_cancelled()
        assert source.exchange().gone_at is not None


@pytest.mark.parametrize("role_first", [False, True])
def test_a_late_answer_is_whole_in_the_end(role_first: bool, faulty: StartFaulty) -> None:
    started = time.monotonic()
    heard = callers.chat(faulty(starts_late(0.3, role_first=role_first)).url)
    assert heard.error is None and heard.text == TEXT
    assert time.monotonic() - started >= 0.3


@speakers
@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.RESET], ids=lambda ending: ending.name)
def test_a_cut_breaks_after_its_tokens(ask: callers.Ask, ending: Ending, faulty: StartFaulty) -> None:
    heard = ask(faulty(cuts(40, ending)).url)
    assert heard.error is not None
    assert heard.text == "".join(TOKENS[:40]), f"{heard.error!r}"
    assert heard.finish is None


def test_a_cut_that_ends_properly_looks_like_success_without_us(faulty: StartFaulty) -> None:
    heard = callers.chat(faulty(cuts(40, Ending.CLEAN)).url)
    assert heard.error is None, "which is why a gateway has to look for the end of the answer"
    assert heard.text == "".join(TOKENS[:40]) and heard.finish is None


@speakers
def test_a_reported_error_shows_with_its_reason(ask: callers.Ask, faulty: StartFaulty) -> None:
    heard = ask(faulty(reports(40)).url)
    assert heard.text == "".join(TOKENS[:40]) and heard.finish is None
    assert REPORTED in str(heard.error)


def test_silence_after_some_tokens(faulty: StartFaulty) -> None:
    source = faulty(goes_silent(20))
    with httpx.stream(
        "POST",
        f"{source.url}/v1/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
        timeout=0.5,
    ) as answer:
        seen = b""
        with pytest.raises(httpx.ReadTimeout):
            for piece in answer.iter_bytes():
                seen += piece
    assert callers.Read(200, {}, seen, whole=False).text == "".join(TOKENS[:20])
    source.exchange().must_be_cancelled()


def test_invalid_json_is_one_event_of_a_whole_stream(faulty: StartFaulty) -> None:
    url = faulty(babbles(30)).url
    read = callers.read_chat(url)
    assert read.whole and read.text == TEXT and read.finishes == ["stop"]
    assert len(read.payloads) == 1 + 60 + 2
    assert callers.chat(url).error is not None, "the SDK itself stumbles over it"


def test_done_is_forgotten_and_nothing_else(faulty: StartFaulty) -> None:
    read = callers.read_chat(faulty(forgets_done()).url)
    assert read.whole and read.text == TEXT and read.finishes == ["stop"]
    assert b"[DONE]" not in read.body
    assert b"[DONE]" in callers.read_chat(faulty(answers()).url).body


def test_a_raw_caller_sees_a_cut(faulty: StartFaulty) -> None:
    read = callers.read_chat(faulty(cuts(40)).url)
    assert not read.whole and read.text == "".join(TOKENS[:40]) and read.finishes == []


@pytest.mark.parametrize(
    ("call", "dialect"), [("chat/completions", "openai-chat"), ("messages", "anthropic-messages")]
)
def test_prefills(call: str, dialect: str, faulty: StartFaulty) -> None:
    def texts(url: str, *turns: tuple[str, str]) -> httpx.Response:
        body = {"model": "m", "stream": True, "messages": [{"role": role, "content": text} for role, text in turns]}
        return httpx.post(f"{url}/v1/{call}", json=body)

    begun = "".join(TOKENS[:40])
    takes, refuses_it = faulty(continues()).url, faulty(refuses_prefill(answers())).url
    rest = texts(takes, ("user", "Hi"), ("assistant", begun))
    assert begun + text_of(dialect, payloads_of(rest.content)) == TEXT
    assert "not the text so far" in texts(takes, ("user", "Hi"), ("assistant", "something else")).text
    assert text_of(dialect, payloads_of(texts(takes, ("user", "Hi")).content)) == TEXT

    refused = texts(refuses_it, ("user", "Hi"), ("assistant", begun))
    assert refused.status_code == 400 and PREFILL_REFUSAL in refused.text
    assert texts(refuses_it, ("user", "Hi")).status_code == 200
