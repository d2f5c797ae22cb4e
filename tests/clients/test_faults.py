"""Backends that fail before their answer has begun, or say something odd in it, and what callers get.

Every fault has its number in a list of sixteen ways in which model backends fail. The
caller's SDK is told not to try again: what is tried again, the gateway tries. The faults that come
in the middle of an answer (8, 9, 14) are in test_rescue.py.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import openai
import pytest

import callers
from backend import Exchange, Script
from chains import (
    FALLBACK_MODEL,
    PAUSE,
    RETRIES,
    SOON,
    chain,
    must_rest,
    requests_logged,
    total,
)
from conftest import StartFaulty, StartGateway
from faulty import (
    TEXT,
    Faulty,
    Play,
    Usage,
    answers,
    asked,
    babbles,
    cuts,
    forgets_done,
    refuses,
    resets,
    says_nothing,
    starts_late,
)

# What the fallback reports differs from what the primary does.
FALLBACK_USAGE = Usage(prompt=13, completion=61)

each_way = pytest.mark.parametrize("kept", [False, True], ids=["relayed", "kept"])
speakers = pytest.mark.parametrize("ask", [callers.chat, callers.messages], ids=["chat", "messages"])


def must_be_whole(heard: callers.Heard, model: str = callers.MODEL, usage: Usage = Usage()) -> None:
    """The whole answer of one backend, once, and nothing else."""
    assert heard.error is None, f"{heard.error!r}"
    assert heard.text == TEXT
    assert heard.finish in ("stop", "end_turn")
    assert heard.models == [model]
    assert (heard.prompt, heard.completion) == (usage.prompt, usage.completion)


def must_be_the_fallbacks(heard: callers.Heard) -> None:
    """The whole answer of the fallback."""
    must_be_whole(heard, FALLBACK_MODEL, FALLBACK_USAGE)


# --- 1: 429 with `Retry-After`.


@each_way
@pytest.mark.parametrize("alone", [False, True], ids=["with fallback", "alone"])
def test_1_a_retry_after_is_waited_for(
    alone: bool, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error", retry_after=2), answers())
    fallback = None if alone else faulty(answers(usage=FALLBACK_USAGE))
    heard = callers.chat(gateway(chain(primary, fallback, kept=kept)).url)
    if fallback is not None and fallback.attempts:
        must_be_the_fallbacks(heard)
        assert primary.attempts == fallback.attempts == 1
        return
    must_be_whole(heard)
    assert primary.attempts == 2, "one retry"
    assert primary.gaps[0] >= 2.0, "no sooner than it was asked for"


@pytest.mark.parametrize("alone", [False, True], ids=["with fallback", "alone"])
def test_1_a_retry_after_beyond_the_longest_pause_is_not_waited_for(
    alone: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(429, "come back later", kind="rate_limit_error", retry_after=60))
    fallback = None if alone else faulty(answers(usage=FALLBACK_USAGE))
    heard = callers.chat(gateway(chain(primary, fallback)).url)
    assert primary.attempts == 1
    if fallback is not None:
        must_be_the_fallbacks(heard)
        return
    assert isinstance(heard.error, openai.RateLimitError), f"{heard.error!r}"
    assert "come back later" in str(heard.error)
    assert heard.error.response.headers["retry-after"] == "60", "the caller is told what the backend said"


def test_1_a_route_can_say_that_the_next_is_asked_at_once(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error", retry_after=2), answers())
    fallback = faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(
        callers.chat(gateway(chain(primary, fallback, route='failures = { rate_limited = "next" }')).url)
    )
    assert primary.attempts == 1
    assert fallback.exchange().at - primary.exchange().at < 2.0


# --- 2: 429 without it, always.


def must_back_off(gaps: list[float]) -> None:
    """Each pause is as long as is promised: twice the one before, less up to a half."""
    for number, gap in enumerate(gaps):
        assert gap >= PAUSE * 2**number / 2, f"{gaps}: a pause is too short"


@each_way
def test_2_a_rate_limit_that_stays_leads_to_the_fallback(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error"))
    fallback = faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(callers.chat(gateway(chain(primary, fallback, kept=kept)).url))
    assert 1 <= primary.attempts <= 1 + RETRIES and fallback.attempts == 1
    must_back_off(primary.gaps)


def test_2_a_rate_limit_that_stays_is_the_callers_without_fallback(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(429, "slow down, all of you", kind="rate_limit_error", code="rate_limit_exceeded"))
    heard = callers.chat(gateway(chain(primary)).url)
    assert isinstance(heard.error, openai.RateLimitError), f"{heard.error!r}"
    assert heard.error.code == "rate_limit_exceeded" and "slow down, all of you" in str(heard.error)
    assert primary.attempts == 1 + RETRIES
    must_back_off(primary.gaps)


def test_2_retries_have_a_budget(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary = faulty(refuses(429, "slow down", kind="rate_limit_error"))
    fallback = faulty(answers(usage=FALLBACK_USAGE))
    budget = "retry_budget = { percent = 0, least = 0 }"
    url = gateway(chain(primary, fallback, primary_keys=budget)).url
    for _ in range(3):
        must_be_the_fallbacks(callers.chat(url))
    assert primary.attempts == 3, "nothing is sent again, and each request goes on at once"


# --- 3 and 4: errors in the 500s.


@each_way
@speakers
def test_3_an_error_that_passes_is_tried_again_on_the_same_backend(
    ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(refuses(500, "a hiccup"), answers()), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept))
    must_be_whole(ask(running.url))
    assert (primary.attempts, fallback.attempts) == (2, 0)
    assert asked(primary.exchange(0)) == asked(primary.exchange(1)), "the same request is sent again"
    must_back_off(primary.gaps)
    if not kept:
        (line,) = requests_logged(running)
        assert line["ending"] == "complete"
        assert "failed" in line["attempts"] and "answered" in line["attempts"]


@each_way
@speakers
def test_4_an_error_that_stays_leads_to_the_fallback(
    ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(ask(gateway(chain(primary, fallback, kept=kept)).url))
    assert 1 <= primary.attempts <= 1 + RETRIES and fallback.attempts == 1
    first, last = asked(primary.exchange()), asked(fallback.exchange())
    assert {**first, "model": FALLBACK_MODEL} == last, "the same request, but for the model"


@each_way
@pytest.mark.parametrize(
    ("ask", "error"), [(callers.chat, "InternalServerError"), (callers.messages, "InternalServerError")]
)
def test_4_an_error_that_stays_is_the_callers_without_fallback(
    ask: callers.Ask, error: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(503, "every GPU is on fire"))
    heard = ask(gateway(chain(primary, kept=kept)).url)
    assert heard.status == 503 and error in [cls.__name__ for cls in type(heard.error).__mro__]
    assert "every GPU is on fire" in str(heard.error), "the original error"
    assert heard.text == ""
    assert primary.attempts == 1 + RETRIES


def test_4_when_all_fail_the_caller_gets_one_error_of_a_backend(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "first is down")), faulty(refuses(500, "second is down"))
    heard = callers.chat(gateway(chain(primary, fallback)).url)
    assert heard.status in (500, 503)
    assert "is down" in str(heard.error)
    assert 1 <= primary.attempts <= 1 + RETRIES and 1 <= fallback.attempts <= 1 + RETRIES


def test_4_without_retries_each_is_asked_once(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(callers.chat(gateway(chain(primary, fallback, route="retry = false")).url))
    assert (primary.attempts, fallback.attempts) == (1, 1)


# --- 5: a reset before any byte.


@each_way
def test_5_a_reset_before_any_byte_is_tried_again(kept: bool, faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(resets(), answers()), faulty(answers(usage=FALLBACK_USAGE))
    must_be_whole(callers.chat(gateway(chain(primary, fallback, kept=kept)).url))
    assert (primary.attempts, fallback.attempts) == (2, 0)


@each_way
def test_5_resets_that_go_on_lead_to_the_fallback(kept: bool, faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(resets()), faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(callers.chat(gateway(chain(primary, fallback, kept=kept)).url))
    assert 1 <= primary.attempts <= 1 + RETRIES


def test_5_resets_that_go_on_are_a_server_error_without_fallback(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary = faulty(resets())
    heard = callers.chat(gateway(chain(primary)).url)
    assert heard.status == 502, f"{heard.error!r}"
    assert 1 <= primary.attempts <= 1 + RETRIES


# --- 6 and 7: nothing comes.


@each_way
def test_6_a_silent_backend_is_left_after_one_limit(kept: bool, faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(says_nothing()), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept, route='clocks = { first_byte = "1s" }'))
    must_be_the_fallbacks(callers.chat(running.url))
    assert (primary.attempts, fallback.attempts) == (1, 1), "a silent backend is not asked again"
    left_at(primary, after=1.0)
    # The limit begins a little before the backend sees the request.
    assert fallback.exchange().at - primary.exchange().at >= 0.5
    must_rest(running)


@each_way
def test_7_a_head_without_an_event_is_left_after_one_limit(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(starts_late(20.0)), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept, route='clocks = { first_event = "1s" }'))
    must_be_the_fallbacks(callers.chat(running.url))
    assert (primary.attempts, fallback.attempts) == (1, 1), "a silent backend is not asked again"
    left_at(primary, after=1.0)
    must_rest(running)


@pytest.mark.parametrize(
    ("play", "clock"), [(says_nothing(), "first_byte"), (starts_late(20.0), "first_event")], ids=["6", "7"]
)
def test_6_7_without_fallback_it_is_one_timeout(
    play: Play, clock: str, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(play)
    running = gateway(chain(primary, route=f'clocks = {{ {clock} = "1s" }}'))
    heard = callers.chat(running.url)
    assert isinstance(heard.error, openai.APIError), f"{heard.error!r}"
    assert not isinstance(heard.error, openai.APIConnectionError), "an error in words, not a broken connection"
    assert heard.text == "" and heard.finish is None
    assert primary.attempts == 1
    left_at(primary, after=1.0)
    must_rest(running)


def left_at(source: Faulty, *, after: float) -> None:
    """The backend's one request was cancelled once its limit had passed, and not much later."""
    exchange = source.exchange()
    exchange.must_be_cancelled()
    assert exchange.gone_at is not None
    lasted = exchange.gone_at - exchange.at
    # As above, the limit begins a little before the backend sees the request.
    assert after - 0.5 <= lasted <= after + SOON, f"cancelled after {lasted:.2f} s"


# --- 10 and 11: odd answers.


@each_way
def test_10_one_event_of_invalid_json_does_not_end_the_answer(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(babbles(30)), faulty(answers(usage=FALLBACK_USAGE))
    read = callers.read_chat(gateway(chain(primary, fallback, kept=kept, route="rescue = true")).url)
    assert read.status == 200 and read.whole
    assert read.text == TEXT and read.finishes == ["stop"] and read.errors == []
    assert read.payloads[-1]["usage"]["completion_tokens"] == 60
    assert b"[DONE]" in read.body
    assert (primary.attempts, fallback.attempts) == (1, 0)


@each_way
@pytest.mark.parametrize("rescue", ["rescue = true", ""], ids=["rescue", "no rescue"])
def test_11_an_answer_without_done_is_whole_and_finished_at_once(
    rescue: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(forgets_done()), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept, route=f'{rescue}\nclocks = {{ idle = "15s" }}'))
    heard = callers.chat(running.url)
    must_be_whole(heard)
    assert heard.seconds < 5, "no clock was waited for"
    assert (primary.attempts, fallback.attempts) == (1, 0)
    read = callers.read_chat(running.url)
    assert read.whole and read.errors == [] and read.finishes == ["stop"]


@each_way
@pytest.mark.parametrize("rescue", ["rescue = true", ""], ids=["rescue", "no rescue"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "usage"])
def test_11_a_last_event_without_its_blank_line_counts(
    done: bool, rescue: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    def play(exchange: Exchange) -> Script:
        script = (answers() if done else forgets_done())(exchange)
        return replace(script, pieces=[*script.pieces[:-1], script.pieces[-1].rstrip(b"\n")])

    primary, fallback = faulty(play), faulty(answers(usage=FALLBACK_USAGE))
    heard = callers.chat(gateway(chain(primary, fallback, kept=kept, route=rescue)).url)
    if done or kept or rescue:
        must_be_whole(heard)
    else:
        # Passed on byte by byte: the SDK leaves such an event out, as it does without us.
        assert heard.error is None and heard.text == TEXT and heard.finish == "stop"
    assert (primary.attempts, fallback.attempts) == (1, 0)


# --- 12 and 13: requests that the backend cannot take.

TOO_LONG = refuses(
    400,
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    kind="invalid_request_error",
    code="context_length_exceeded",
)


@each_way
def test_12_a_request_that_is_too_long_goes_to_the_larger_model(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, larger = faulty(TOO_LONG), faulty(answers(usage=FALLBACK_USAGE))
    must_be_the_fallbacks(callers.chat(gateway(chain(primary, larger, larger=True, kept=kept)).url))
    assert (primary.attempts, larger.attempts) == (1, 1)


def test_12_entries_that_are_not_larger_are_passed_over(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, same, larger = faulty(TOO_LONG), faulty(answers()), faulty(answers(usage=FALLBACK_USAGE))
    config = chain(primary, larger, larger=True).replace(
        'to = ["primary", ', 'to = ["primary", "same", '
    ) + f'\n[upstreams.same]\nurl = "{same.url}"\n'
    must_be_the_fallbacks(callers.chat(gateway(config).url))
    assert (primary.attempts, same.attempts, larger.attempts) == (1, 0, 1)


def test_12_without_a_larger_model_the_refusal_is_the_callers(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(TOO_LONG), faulty(answers())
    heard = callers.chat(gateway(chain(primary, fallback)).url)
    assert isinstance(heard.error, openai.BadRequestError), f"{heard.error!r}"
    assert heard.error.code == "context_length_exceeded"
    assert "maximum context length is 8192" in str(heard.error)
    assert (primary.attempts, fallback.attempts) == (1, 0)


def test_12_a_larger_model_is_for_requests_that_are_too_long_only(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, larger = faulty(refuses(503, "overloaded")), faulty(answers())
    heard = callers.chat(gateway(chain(primary, larger, larger=True)).url)
    assert heard.status == 503 and "overloaded" in str(heard.error)
    assert larger.attempts == 0


@each_way
def test_13_what_the_backend_holds_back_is_asked_nowhere_else(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    reason = "The response was filtered due to the prompt triggering the content management policy."
    primary = faulty(refuses(400, reason, kind="invalid_request_error", code="content_filter"))
    fallback = faulty(answers())
    heard = callers.chat(gateway(chain(primary, fallback, kept=kept, route="rescue = true")).url)
    assert isinstance(heard.error, openai.BadRequestError), f"{heard.error!r}"
    assert heard.error.code == "content_filter" and reason in str(heard.error)
    assert (primary.attempts, fallback.attempts) == (1, 0)


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_value"), (404, "no_such_thing"), (422, "unfit")])
def test_13_a_bad_request_is_asked_once(
    status: int, code: str, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(refuses(status, "messages[3] is not acceptable", kind="invalid_request_error", code=code))
    fallback = faulty(answers())
    heard = callers.chat(gateway(chain(primary, fallback)).url)
    assert heard.status == status and "messages[3] is not acceptable" in str(heard.error)
    assert (primary.attempts, fallback.attempts) == (1, 0)


# --- 15: ill for a while.

ILL, PACE, AFTER, EJECTED, LONGEST = 6.0, 0.2, 2, 0.5, 2.0


def most_attempts_while_ill() -> int:
    """Failures until it is left out, and one probe after each pause; a pause may be a half shorter."""
    passed, pause, probes = 0.0, EJECTED, 0
    while passed < ILL:
        passed += pause / 2
        pause = min(2 * pause, LONGEST)
        probes += 1
    # One that is asked again at once counts twice; what is under way when it is left out may still come.
    return 2 * (AFTER + probes)


def test_15_a_backend_that_is_ill_is_left_out_until_it_is_well(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    eject = f'eject = {{ after = {AFTER}, pause = "500ms", longest = "2s" }}'
    route = 'retry = { times = 1, pause = "10ms" }'
    running = gateway(chain(primary, fallback, primary_keys=eject, route=route))

    started = time.monotonic()
    while (now := time.monotonic()) < started + ILL:
        must_be_the_fallbacks(callers.chat(running.url))
        time.sleep(max(0.0, now + PACE - time.monotonic()))
    while_ill = primary.attempts
    assert AFTER <= while_ill <= most_attempts_while_ill(), "few probes while it is down"
    assert fallback.attempts > 2 * most_attempts_while_ill() / 3, "there were many more requests than probes"

    primary.become(answers())
    well = time.monotonic()
    while True:
        heard = callers.chat(running.url)
        if heard.models == [callers.MODEL]:
            break
        must_be_the_fallbacks(heard)
        assert time.monotonic() - well <= LONGEST + 1.0, "it is asked again soon after it is well"
        time.sleep(PACE)
    must_be_whole(heard)
    for _ in range(5):
        must_be_whole(callers.chat(running.url))


# --- 16: what is counted.


@each_way
def test_16_failed_attempts_are_not_completions(kept: bool, faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept))
    must_be_the_fallbacks(callers.chat(running.url))
    must_rest(running)

    attempts = "deltaway_attempts_total"
    assert total(running, attempts, upstream="primary", outcome="overloaded") == primary.attempts
    assert total(running, attempts, upstream="primary", outcome="answered") == 0
    assert total(running, attempts, upstream="fallback", outcome="answered") == 1
    assert total(running, "deltaway_tokens_total", upstream="primary") == 0
    usage = FALLBACK_USAGE
    assert total(running, "deltaway_tokens_total", upstream="fallback") == usage.prompt + usage.completion
    assert total(running, "deltaway_requests_total", upstream="primary") == 0
    assert total(running, "deltaway_requests_total", ending="complete") == 1

    (line,) = requests_logged(running)
    assert line["ending"] == "complete" and line["upstream"] == "fallback"
    if not kept:
        # Of a kept answer these stand where that has ended: its readers may be many.
        attempts = line["attempts"]
        assert "primary" in attempts and "overloaded" in attempts and "answered" in attempts
        assert (line["prompt_tokens"], line["completion_tokens"]) == (usage.prompt, usage.completion)


def test_16_the_tokens_of_a_caller_who_asks_for_no_usage(faulty: StartFaulty, gateway: StartGateway) -> None:
    """An answer without usage is passed on without usage."""
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback))
    with openai.OpenAI(api_key="k", base_url=f"{running.url}/v1", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        chunks = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks), "no event that was not asked for"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT


# --- Other ways in: documents, and bodies that are too large to be kept.


def test_a_document_comes_from_the_fallback_too(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback))
    with openai.OpenAI(api_key="k", base_url=f"{running.url}/v1", max_retries=0) as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == TEXT and answer.model == FALLBACK_MODEL
    assert answer.usage is not None and answer.usage.prompt_tokens == FALLBACK_USAGE.prompt
    assert primary.attempts == 1 + RETRIES and fallback.attempts == 1
    (line,) = requests_logged(running)
    assert line["prompt_tokens"] == FALLBACK_USAGE.prompt


def test_a_body_that_is_too_large_to_be_kept_still_reaches_one_backend(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(answers())
    route = 'retry = { times = 2, pause = "10ms", body = "1KiB" }'
    url = gateway(chain(primary, faulty(answers()), route=route)).url
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 300_000}], "stream": True})
    read = callers.read_chat(url, body=body.encode())
    assert read.whole and read.text == TEXT
    assert len(primary.exchange().body) == len(body)
    assert primary.attempts == 1


@pytest.mark.parametrize("size", [10_000, 900_000])
def test_a_large_body_that_is_kept_reaches_the_fallback_whole(
    size: int, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(resets(), refuses(503, "overloaded")), faulty(answers(usage=FALLBACK_USAGE))
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * size}], "stream": True}
    read = callers.read_chat(gateway(chain(primary, fallback)).url, body=json.dumps(body).encode())
    assert read.whole and read.text == TEXT
    assert asked(fallback.exchange()) == {**body, "model": FALLBACK_MODEL}


def test_a_cut_without_rescue_counts_as_truncated(faulty: StartFaulty, gateway: StartGateway) -> None:
    running = gateway(chain(faulty(cuts(40)), faulty(answers())))
    assert callers.chat(running.url).error is not None
    (line,) = requests_logged(running)
    assert line["ending"] == "truncated"
