"""Backends that fail in the middle of an answer, and what callers get.

The numbers are those of test_faults.py: 8 is a cut, 9 a silence, 14 a cut where the fallback refuses to
be shown the beginning of its answer. A caller gets the whole answer with nothing twice, or all that was
delivered and one clear error; never a part that looks like the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anthropic
import openai
import pytest

import callers
from backend import Ending, Exchange, Script
from chains import SOON, chain, must_rest, requests_logged, total
from conftest import StartFaulty, StartGateway
from faulty import (
    OTHER_TOKENS,
    PREFILL_REFUSAL,
    REPORTED,
    TEXT,
    TOKENS,
    Faulty,
    Play,
    Usage,
    answers,
    asked,
    continues,
    cuts,
    cuts_inside,
    goes_silent,
    prefill_of,
    rechunked,
    refuses,
    refuses_prefill,
    reports,
)
from processes import Program
from sdks import Job, run_node

RESCUE = 'rescue = true\nclocks = { idle = "1s" }'
NO_RESCUE = 'clocks = { idle = "1s" }'
ASSISTANT = 'prefill = "assistant"'

# Where an answer is left: 8 after 40 tokens, in several ways, and 9 after 20.
LEFT = {
    "8 closed": (cuts(40, Ending.CLOSED), 40),
    "8 reset": (cuts(40, Ending.RESET), 40),
    "8 ended properly": (cuts(40, Ending.CLEAN), 40),
    "9 silent": (goes_silent(20), 20),
}

# The same in the middle of an event: a route that passes bytes on as they come has passed its half.
LEFT_INSIDE = {
    "8 closed inside an event": (cuts_inside(40), 40),
    "8 reset inside an event": (cuts_inside(40, Ending.RESET), 40),
    "8 ended properly inside an event": (cuts_inside(40, Ending.CLEAN), 40),
}

SHOWN = {"restart": "", "prefill": ASSISTANT}

each_way = pytest.mark.parametrize("kept", [False, True], ids=["relayed", "kept"])
each_left = pytest.mark.parametrize("left", list(LEFT))
wherever_left = pytest.mark.parametrize("left", [*LEFT, *LEFT_INSIDE])
speakers = pytest.mark.parametrize("ask", [callers.chat, callers.messages], ids=["chat", "messages"])
each_shown = pytest.mark.parametrize("shown", list(SHOWN))


def must_be_whole(heard: callers.Heard) -> None:
    """The whole text, once, finished and without an error."""
    assert heard.error is None, f"{heard.error!r} after {len(heard.text)} of {len(TEXT)} characters"
    assert heard.text == TEXT
    assert heard.finish in ("stop", "end_turn")


def must_be_cut(heard: callers.Heard, delivered: int) -> None:
    """All that was delivered, and then one error in words."""
    assert heard.text == "".join(TOKENS[:delivered])
    assert heard.finish is None
    assert isinstance(heard.error, (openai.APIError, anthropic.APIError)), f"{heard.error!r}"
    broken = (openai.APIConnectionError, anthropic.APIConnectionError)
    assert not isinstance(heard.error, broken), "an error in words, not a broken connection"
    assert str(heard.error)
    assert PREFILL_REFUSAL not in str(heard.error)


def must_be_one_error(read: callers.Read, delivered: int) -> None:
    """The same, to whoever reads the bytes."""
    assert read.status == 200
    assert read.text == "".join(TOKENS[:delivered])
    assert read.finishes == []
    assert len(read.errors) == 1 and read.payloads[-1] == read.errors[0]
    assert b"[DONE]" not in read.body


# --- 8 and 9, rescued.


@each_way
@speakers
@each_shown
@wherever_left
def test_8_9_the_rest_comes_from_the_fallback(
    left: str, shown: str, ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    play, delivered = (LEFT | LEFT_INSIDE)[left]
    primary = faulty(play)
    fallback = faulty(continues() if shown == "prefill" else answers(rechunked(TEXT)))
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE, fallback_keys=SHOWN[shown]))
    must_be_whole(ask(running.url))
    assert (primary.attempts, fallback.attempts) == (1, 1)
    must_have_been_asked_for_the_rest(primary, fallback, delivered if shown == "prefill" else None)
    must_rest(running)


def must_have_been_asked_for_the_rest(primary: Faulty, fallback: Faulty, delivered: int | None) -> None:
    """The fallback got the caller's request, with the text so far as last message if it is shown any."""
    first, last = asked(primary.exchange()), asked(fallback.exchange())
    begun = prefill_of(fallback.exchange())
    if delivered is None:
        assert begun is None and last["messages"] == first["messages"]
    else:
        assert begun == "".join(TOKENS[:delivered])
        assert last["messages"][:-1] == first["messages"]
    assert last["model"] == "fallback-model"
    assert last["stream"] is True


@pytest.mark.parametrize(
    ("prefill", "marks"),
    [
        ("assistant", {}),
        ("prefix", {}),
        ("continue", {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_8_the_beginning_is_shown_as_the_fallback_takes_it(
    prefill: str, marks: dict[str, bool], faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(cuts(40)), faulty(continues())
    keys = f'prefill = "{prefill}"'
    must_be_whole(callers.chat(gateway(chain(primary, fallback, route=RESCUE, fallback_keys=keys)).url))
    request = asked(fallback.exchange())
    message = request["messages"][-1]
    assert message["role"] == "assistant"
    assert message.get("prefix") is (True if prefill == "prefix" else None)
    for mark in ("continue_final_message", "add_generation_prompt"):
        assert request.get(mark) is marks.get(mark)


@each_shown
def test_8_what_a_raw_reader_gets_is_one_answer(shown: str, faulty: StartFaulty, gateway: StartGateway) -> None:
    fallback = faulty(continues() if shown == "prefill" else answers(rechunked(TEXT)))
    running = gateway(chain(faulty(cuts(40)), fallback, route=RESCUE, fallback_keys=SHOWN[shown]))
    read = callers.read_chat(running.url)
    assert read.whole and read.text == TEXT and read.finishes == ["stop"] and read.errors == []
    assert read.body.count(b"[DONE]") == 1 and read.body.endswith(b"data: [DONE]\n\n")
    assert sum(bool(payload.get("usage")) for payload in read.payloads) == 1
    roles = [payload for payload in read.payloads if '"role"' in str(payload).replace("'", '"')]
    assert len(roles) <= 1 or len({payload["id"] for payload in roles}) == 1, "one message, not two"
    (line,) = requests_logged(running)
    assert line["ending"] == "complete"
    assert "primary" in line["attempts"] and "fallback" in line["attempts"]


@pytest.mark.parametrize("after", range(0, 60, 7))
@each_shown
def test_8_wherever_it_is_cut(after: int, shown: str, faulty: StartFaulty, gateway: StartGateway) -> None:
    fallback = faulty(continues() if shown == "prefill" else answers(rechunked(TEXT, 3)))
    running = gateway(chain(faulty(cuts(after)), fallback, route=RESCUE, fallback_keys=SHOWN[shown]))
    must_be_whole(callers.chat(running.url))


@each_shown
def test_8_a_cut_after_the_last_token(shown: str, faulty: StartFaulty, gateway: StartGateway) -> None:
    """All the text is there, but nobody said that it is all."""
    primary, fallback = faulty(cuts(60)), faulty(continues() if shown == "prefill" else answers())
    must_be_whole(callers.chat(gateway(chain(primary, fallback, route=RESCUE, fallback_keys=SHOWN[shown])).url))


@speakers
@each_shown
def test_8_white_space_at_the_cut_comes_once(
    shown: str, ask: callers.Ask, faulty: StartFaulty, gateway: StartGateway
) -> None:
    # The blank stands at the end of a token, where some APIs refuse it in what they are shown.
    tokens = [f"{token.strip(' ')} " for token in TOKENS[:-1]] + [TOKENS[-1].strip(" ")]
    assert "".join(tokens) == TEXT
    primary = faulty(cuts(40, tokens=tokens))
    fallback = faulty(continues() if shown == "prefill" else answers(tokens))
    must_be_whole(ask(gateway(chain(primary, fallback, route=RESCUE, fallback_keys=SHOWN[shown])).url))
    begun = prefill_of(fallback.exchange())
    assert begun is None or begun == begun.rstrip()


@each_way
def test_8_in_nodes_sdk(
    kept: bool, node: Callable[..., Program], faulty: StartFaulty, gateway: StartGateway
) -> None:
    good = gateway(chain(faulty(cuts(40)), faulty(answers()), kept=kept, route=RESCUE)).url
    bad = gateway(chain(faulty(cuts(40)), kept=kept, route=RESCUE)).url
    jobs = [Job("chat", good), Job("chat", bad)]
    rescued, cut = run_node(node("sdks.mjs", stdin=True), jobs)
    text = ["".join(c["delta"].get("content") or "" for i in r.items for c in i["choices"]) for r in (rescued, cut)]
    assert rescued.error is None and text[0] == TEXT
    assert cut.error is not None and "APIError" in cut.error.classes and text[1] == "".join(TOKENS[:40])
    assert "APIConnectionError" not in cut.error.classes


@each_way
@speakers
@each_shown
def test_8_an_error_that_is_reported_inside_is_rescued_too(
    shown: str, ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(reports(40))
    fallback = faulty(continues() if shown == "prefill" else answers(rechunked(TEXT)))
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE, fallback_keys=SHOWN[shown]))
    must_be_whole(ask(running.url))
    assert (primary.attempts, fallback.attempts) == (1, 1)


@each_way
@speakers
def test_8_an_error_that_is_reported_inside_keeps_its_reason_without_rescue(
    ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(reports(40)), faulty(answers())
    running = gateway(chain(primary, fallback, kept=kept, route=NO_RESCUE))
    heard = ask(running.url)
    must_be_cut(heard, 40)
    assert REPORTED in str(heard.error)
    if ask is callers.chat:
        must_be_one_error(callers.read_chat(running.url), 40)
    assert fallback.attempts == 0


def test_8_after_a_retry_an_answer_is_still_rescued(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(refuses(500, "a hiccup"), cuts(40)), faulty(answers())
    must_be_whole(callers.chat(gateway(chain(primary, fallback, route=RESCUE)).url))
    assert (primary.attempts, fallback.attempts) == (2, 1)


@each_shown
def test_8_a_long_answer_is_rescued(shown: str, faulty: StartFaulty, gateway: StartGateway) -> None:
    tokens = [f" long{n}" for n in range(5_000)]
    primary = faulty(cuts(4_000, tokens=tokens))
    fallback = faulty(continues(tokens) if shown == "prefill" else answers(rechunked("".join(tokens), 40)))
    heard = callers.chat(gateway(chain(primary, fallback, route=RESCUE, fallback_keys=SHOWN[shown])).url)
    assert heard.error is None and heard.text == "".join(tokens) and heard.finish == "stop"


# --- 8 and 9, not to be rescued.


@each_way
@speakers
@each_left
@pytest.mark.parametrize("why", ["rescue is off", "there is no fallback"])
def test_8_9_without_rescue_there_is_one_clear_error(
    why: str, left: str, ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    play, delivered = LEFT[left]
    primary, fallback = faulty(play), faulty(answers())
    if why == "rescue is off":
        running = gateway(chain(primary, fallback, kept=kept, route=NO_RESCUE))
    else:
        running = gateway(chain(primary, kept=kept, route=RESCUE))
    must_be_cut(ask(running.url), delivered)
    if ask is callers.chat:
        must_be_one_error(callers.read_chat(running.url), delivered)
    assert fallback.attempts == 0
    must_rest(running)


@each_way
@speakers
@pytest.mark.parametrize("left", list(LEFT_INSIDE))
def test_8_a_cut_inside_an_event_is_an_error_without_rescue(
    left: str, ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    play, delivered = LEFT_INSIDE[left]
    heard = ask(gateway(chain(faulty(play), faulty(answers()), kept=kept, route=NO_RESCUE)).url)
    assert heard.error is not None and heard.finish is None
    assert heard.text == "".join(TOKENS[:delivered])


@each_way
@wherever_left
def test_8_9_a_fallback_that_says_something_else_is_no_rescue(
    left: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    play, delivered = (LEFT | LEFT_INSIDE)[left]
    primary, fallback = faulty(play), faulty(answers(OTHER_TOKENS))
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE))
    must_be_cut(callers.chat(running.url), delivered)
    must_be_one_error(callers.read_chat(running.url), delivered)
    must_rest(running)


def test_8_a_fallback_that_differs_late_is_no_rescue(faulty: StartFaulty, gateway: StartGateway) -> None:
    """It repeats nearly all that was delivered, and then goes another way."""
    tokens = [*TOKENS[:39], " elsewhere", *OTHER_TOKENS[40:]]
    running = gateway(chain(faulty(cuts(40)), faulty(answers(tokens)), route=RESCUE))
    must_be_cut(callers.chat(running.url), 40)
    must_be_one_error(callers.read_chat(running.url), 40)


def test_8_a_fallback_that_differs_behind_the_cut_is_a_rescue(faulty: StartFaulty, gateway: StartGateway) -> None:
    """What was not delivered yet may be anything."""
    tokens = [*TOKENS[:40], *OTHER_TOKENS[40:]]
    heard = callers.chat(gateway(chain(faulty(cuts(40)), faulty(answers(tokens)), route=RESCUE)).url)
    assert heard.error is None
    assert heard.text == "".join(tokens) and heard.finish == "stop"


def test_8_a_fallback_that_stops_short_of_what_was_delivered_is_no_rescue(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    running = gateway(chain(faulty(cuts(40)), faulty(answers(TOKENS[:20])), route=RESCUE))
    must_be_cut(callers.chat(running.url), 40)
    must_be_one_error(callers.read_chat(running.url), 40)


@each_way
@pytest.mark.parametrize(
    "play",
    [refuses(503, "the fallback is down"), refuses(400, "the fallback does not like it"), cuts(0), cuts(20)],
    ids=["503", "400", "cut at once", "cut before the place"],
)
def test_8_a_fallback_that_fails_as_well_leaves_one_clear_error(
    play: Play, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(cuts(40)), faulty(play)
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE))
    must_be_cut(callers.chat(running.url), 40)
    must_be_one_error(callers.read_chat(running.url), 40)
    assert fallback.attempts <= 2 * 3, "bounded"
    must_rest(running)


def test_8_a_rescue_that_is_cut_too_delivers_no_more_than_was_said(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    """The fallback gets further, and is cut as well."""
    running = gateway(chain(faulty(cuts(40)), faulty(cuts(50)), route=RESCUE))
    heard = callers.chat(running.url)
    assert heard.error is not None and heard.finish is None
    assert heard.text in ("".join(TOKENS[:40]), "".join(TOKENS[:50]))


def test_8_a_third_entry_goes_on_where_the_second_is_down(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, second, third = faulty(cuts(40)), faulty(refuses(503, "down")), faulty(answers())
    config = chain(primary, second, route=RESCUE).replace('"fallback-model" }]', '"fallback-model" }, "third"]')
    config += f'\n[upstreams.third]\nurl = "{third.url}"\n'
    heard = callers.chat(gateway(config).url)
    must_be_whole(heard)
    assert third.attempts == 1


def test_8_two_cuts_are_mended_by_a_third(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, second, third = faulty(cuts(20)), faulty(cuts(40)), faulty(answers(rechunked(TEXT)))
    config = chain(primary, second, route=RESCUE).replace('"fallback-model" }]', '"fallback-model" }, "third"]')
    config += f'\n[upstreams.third]\nurl = "{third.url}"\n'
    must_be_whole(callers.chat(gateway(config).url))
    assert (primary.attempts, second.attempts, third.attempts) == (1, 1, 1)


# --- 9: the silent backend is let go, and the gateway is well.


@each_way
@pytest.mark.parametrize("route", [RESCUE, NO_RESCUE], ids=["rescue", "no rescue"])
def test_9_a_silent_backend_is_let_go(
    route: str, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(goes_silent(20), answers()), faulty(answers())
    running = gateway(chain(primary, fallback, kept=kept, route=route))
    heard = callers.chat(running.url)
    if route == RESCUE:
        must_be_whole(heard)
    else:
        must_be_cut(heard, 20)
    exchange = primary.exchange()
    exchange.must_be_cancelled()
    assert exchange.gone_at is not None and exchange.gone_at - exchange.at <= 1.0 + 2 * SOON
    must_rest(running)
    must_be_whole(callers.chat(running.url))
    assert primary.attempts == 2, "it is asked again"


def test_9_a_caller_that_leaves_during_a_rescue_cancels_it(faulty: StartFaulty, gateway: StartGateway) -> None:
    fallback = faulty(goes_silent(45))
    route = 'rescue = true\nclocks = { idle = "10s" }'
    running = gateway(chain(faulty(cuts(40)), fallback, route=route))
    with openai.OpenAI(api_key="k", base_url=f"{running.url}/v1", max_retries=0, timeout=15) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with stream:
            text = ""
            for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if text == "".join(TOKENS[:45]):
                    break
    assert text == "".join(TOKENS[:45])
    fallback.exchange().must_be_cancelled()
    must_rest(running)


# --- 14: the fallback refuses to be shown the beginning.


@each_way
@speakers
def test_14_a_refused_prefill_leads_to_a_clean_restart(
    ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(cuts(40)), faulty(refuses_prefill(answers(rechunked(TEXT))))
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE, fallback_keys=ASSISTANT))
    must_be_whole(ask(running.url))
    assert [prefill_of(exchange) is None for exchange in fallback.exchanges] == [False, True]


@each_way
@speakers
def test_14_a_refused_prefill_is_never_the_callers(
    ask: callers.Ask, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary = faulty(cuts(40))
    fallback = faulty(refuses_prefill(answers(OTHER_TOKENS)))
    running = gateway(chain(primary, fallback, kept=kept, route=RESCUE, fallback_keys=ASSISTANT))
    must_be_cut(ask(running.url), 40)
    if ask is callers.chat:
        read = callers.read_chat(running.url)
        must_be_one_error(read, 40)
        assert PREFILL_REFUSAL.encode() not in read.body
    assert fallback.attempts <= 2 * 2, "bounded"


# --- What a rescue may not touch.


@pytest.mark.parametrize(
    "member",
    [
        '"n": 2',
        '"logprobs": true',
        '"response_format": {"type": "json_object"}',
    ],
)
def test_answers_that_are_more_than_their_text_are_not_sewn_together(
    member: str, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(cuts(40)), faulty(answers())
    running = gateway(chain(primary, fallback, route=RESCUE))
    body = f'{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": "Hi"}}], {member}}}'
    must_be_one_error(callers.read_chat(running.url, body=body.encode()), 40)
    assert fallback.attempts == 0


def test_a_tool_call_that_was_cut_is_not_sewn_together(faulty: StartFaulty, gateway: StartGateway) -> None:
    def chunk(delta: str) -> bytes:
        return b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":' + (
            f'[{{"index":0,"delta":{delta},"finish_reason":null}}]}}\n\n'.encode()
        )

    call = '{"role":"assistant","tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}'
    rest = '{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":"}}]}'
    primary = faulty(lambda _: Script([chunk(call), chunk(rest)], ending=Ending.CLOSED))
    fallback = faulty(answers())
    read = callers.read_chat(gateway(chain(primary, fallback, route=RESCUE)).url)
    assert read.text == "" and read.finishes == []
    assert len(read.errors) == 1 and read.payloads[-1] == read.errors[0]
    assert fallback.attempts == 0


@each_shown
@pytest.mark.parametrize("again", ["the same", "another"])
@pytest.mark.parametrize("after", [5, 15], ids=["in thought", "behind it"])
def test_thoughts_come_once_whatever_else_comes(
    after: int, again: str, shown: str, faulty: StartFaulty, gateway: StartGateway
) -> None:
    """An answer with ten thoughts before its sixty tokens."""

    def thinks(word: str) -> Play:
        def play(exchange: Exchange) -> Script:
            script = (continues() if shown == "prefill" else answers())(exchange)
            if prefill_of(exchange) is not None:
                return script
            thought = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":' + (
                b'[{"index":0,"delta":{"reasoning_content":"%s%d "},"finish_reason":null}]}\n\n'
            )
            thoughts = [thought % (word.encode(), number) for number in range(10)]
            return replace(script, pieces=[script.pieces[0], *thoughts, *script.pieces[1:]])

        return play

    primary = faulty(lambda exchange: thinks("hm")(exchange).cut(1 + after, Ending.RESET))
    fallback = faulty(thinks("hm" if again == "the same" else "well"))
    read = callers.read_chat(gateway(chain(primary, fallback, route=RESCUE, fallback_keys=SHOWN[shown])).url)
    deltas = [choice["delta"] for payload in read.payloads for choice in payload.get("choices") or []]
    thoughts = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    all_of_it = "".join(f"hm{number} " for number in range(10))
    if read.errors:
        assert len(read.errors) == 1 and read.payloads[-1] == read.errors[0] and read.finishes == []
        assert TEXT.startswith(read.text)
        assert all_of_it.startswith(thoughts)
    else:
        assert read.text == TEXT and read.finishes == ["stop"] and read.body.count(b"[DONE]") == 1
        assert thoughts == all_of_it or (again == "another" and after == 5), thoughts


def test_what_is_counted_of_a_rescue(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(cuts(40)), faulty(answers(usage=Usage(prompt=13, completion=60)))
    running = gateway(chain(primary, fallback, route=RESCUE))
    must_be_whole(callers.chat(running.url))
    must_rest(running)
    assert total(running, "deltaway_requests_total", ending="complete") == 1
    assert total(running, "deltaway_requests_total") == 1
    assert total(running, "deltaway_attempts_total", upstream="fallback", outcome="answered") == 1
