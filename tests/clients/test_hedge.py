"""A backend that is slow, and the next one asked beside it: the first to have content answers."""

from __future__ import annotations

import socket

import pytest

import callers
from chains import FALLBACK_MODEL, RETRIES, SOON, chain, must_rest, requests_logged
from conftest import StartFaulty, StartGateway
from faulty import TEXT, Faulty, Play, Usage, answers, asked, cuts, refuses, resets, says_nothing, starts_late

FALLBACK_USAGE = Usage(prompt=13, completion=61)
HEDGE = 'hedge = "300ms"\nhedge_percent = 100'

each_way = pytest.mark.parametrize("kept", [False, True], ids=["relayed", "kept"])


def must_be(heard: callers.Heard, model: str) -> None:
    """The whole answer of one backend, and nothing of the other."""
    assert heard.error is None, f"{heard.error!r}"
    assert heard.text == TEXT and heard.finish == "stop"
    assert heard.models == [model]
    assert heard.prompt == (FALLBACK_USAGE if model == FALLBACK_MODEL else Usage()).prompt


def must_be_dropped(slow: Faulty, winner: Faulty) -> None:
    """The slow backend's request was cancelled soon after the other was asked, which answered at once."""
    exchange = slow.exchange()
    exchange.must_be_cancelled()
    assert exchange.gone_at is not None
    assert exchange.gone_at - winner.exchange().at <= SOON


@each_way
@pytest.mark.parametrize(
    "slow",
    [starts_late(3.0), starts_late(3.0, role_first=True), says_nothing()],
    ids=["head only", "role only", "silent"],
)
def test_a_slow_backend_is_overtaken_and_dropped(
    slow: Play, kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(slow), faulty(answers(usage=FALLBACK_USAGE))
    running = gateway(chain(primary, fallback, kept=kept, route=HEDGE))
    heard = callers.chat(running.url)
    must_be(heard, FALLBACK_MODEL)
    assert heard.seconds < 3.0, "nobody waited for the slow one"
    assert (primary.attempts, fallback.attempts) == (1, 1)
    assert fallback.exchange().at - primary.exchange().at >= 0.25, "no sooner than after the pause"
    assert {**asked(primary.exchange()), "model": FALLBACK_MODEL} == asked(fallback.exchange())
    must_be_dropped(primary, fallback)
    must_rest(running)
    if not kept:
        (line,) = requests_logged(running)
        assert line["ending"] == "complete" and line["upstream"] == "fallback"


@each_way
def test_the_beginning_of_a_message_is_no_content(
    kept: bool, faulty: StartFaulty, gateway: StartGateway
) -> None:
    primary, fallback = faulty(starts_late(3.0, role_first=True)), faulty(answers(usage=FALLBACK_USAGE))
    heard = callers.messages(gateway(chain(primary, fallback, kept=kept, route=HEDGE)).url)
    assert heard.error is None, f"{heard.error!r}"
    assert heard.text == TEXT and heard.models == [FALLBACK_MODEL] and heard.finish == "end_turn"
    must_be_dropped(primary, fallback)


def test_a_backend_in_time_is_not_hedged(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(answers()), faulty(answers(usage=FALLBACK_USAGE))
    url = gateway(chain(primary, fallback, route='hedge = "5s"\nhedge_percent = 100')).url
    for _ in range(5):
        must_be(callers.chat(url), callers.MODEL)
    assert (primary.attempts, fallback.attempts) == (5, 0)


def test_the_first_still_wins_when_the_second_is_slower(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(starts_late(1.0)), faulty(starts_late(15.0))
    running = gateway(chain(primary, fallback, route=HEDGE))
    must_be(callers.chat(running.url), callers.MODEL)
    assert fallback.attempts == 1, "it was asked"
    fallback.exchange().must_be_cancelled()
    must_rest(running)


@pytest.mark.parametrize(
    "fails",
    [refuses(503, "overloaded"), refuses(400, "never heard of it"), refuses(401, "no such key"), resets()],
    ids=["503", "400", "401", "reset"],
)
def test_an_error_never_wins(fails: Play, faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(starts_late(1.5)), faulty(fails)
    running = gateway(chain(primary, fallback, route=HEDGE))
    must_be(callers.chat(running.url), callers.MODEL)
    assert primary.attempts == 1 and fallback.attempts >= 1
    must_rest(running)


def test_when_the_first_fails_the_hedge_answers(faulty: StartFaulty, gateway: StartGateway) -> None:
    # The limit of the first passes while the second is under way.
    primary, fallback = faulty(starts_late(20.0)), faulty(starts_late(1.0))
    primary_keys = 'clocks = { first_event = "800ms" }'
    running = gateway(chain(primary, fallback, primary_keys=primary_keys, route=HEDGE))
    heard = callers.chat(running.url)
    assert heard.error is None and heard.text == TEXT and heard.models == [FALLBACK_MODEL]
    assert (primary.attempts, fallback.attempts) == (1, 1)
    primary.exchange().must_be_cancelled()
    must_rest(running)


def test_when_both_fail_there_is_one_error(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(starts_late(20.0)), faulty(refuses(503, "the second is down"))
    primary_keys = 'clocks = { first_event = "1s" }'
    running = gateway(chain(primary, fallback, primary_keys=primary_keys, route=HEDGE))
    heard = callers.chat(running.url)
    assert heard.status in (503, 504), f"{heard.error!r}"
    assert heard.text == ""
    assert primary.attempts == 1 and 1 <= fallback.attempts <= 2 * (1 + RETRIES)
    must_rest(running)


def test_a_caller_that_leaves_cancels_both(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(says_nothing()), faulty(says_nothing())
    running = gateway(chain(primary, fallback, route=HEDGE))
    with socket.create_connection(("127.0.0.1", running.port)) as caller:
        body = b'{"model":"m","stream":true,"messages":[]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        fallback.exchange()
    primary.exchange().must_be_cancelled()
    fallback.exchange().must_be_cancelled()
    must_rest(running)


def test_a_hedge_that_is_cut_is_rescued(faulty: StartFaulty, gateway: StartGateway) -> None:
    """The one that was overtaken is not asked for the rest: there is a third."""
    primary, fallback, third = faulty(says_nothing()), faulty(cuts(40)), faulty(answers())
    config = chain(primary, fallback, route=f"{HEDGE}\nrescue = true")
    config = config.replace('"fallback-model" }]', '"fallback-model" }, "third"]')
    config += f'\n[upstreams.third]\nurl = "{third.url}"\n'
    heard = callers.chat(gateway(config).url)
    assert heard.error is None and heard.text == TEXT and heard.finish == "stop"
    assert (primary.attempts, fallback.attempts, third.attempts) == (1, 1, 1)


def test_few_requests_are_hedged(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(starts_late(0.6)), faulty(answers(usage=FALLBACK_USAGE))
    route = 'hedge = "100ms"\nhedge_percent = 10'
    url = gateway(chain(primary, fallback, route=route)).url
    for _ in range(10):
        heard = callers.chat(url)
        assert heard.error is None and heard.text == TEXT
    assert primary.attempts == 10
    assert fallback.attempts <= 3, "a tenth, and what is allowed before there are enough to tell"


def test_without_hedge_a_slow_backend_is_waited_for(faulty: StartFaulty, gateway: StartGateway) -> None:
    primary, fallback = faulty(starts_late(1.0)), faulty(answers(usage=FALLBACK_USAGE))
    must_be(callers.chat(gateway(chain(primary, fallback)).url), callers.MODEL)
    assert fallback.attempts == 0
