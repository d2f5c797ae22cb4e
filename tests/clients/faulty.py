"""Backends that fail as real ones do: scripted per request, speaking Chat Completions or Messages.

A play says how one request is answered. A backend is given several: one for each request in turn,
and the last for all that follow. Answers are of the dialect of the request's path, name the model
that the request names, and have 60 tokens unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend import Backend, Ending, Exchange, Loop, Script

Play = Callable[[Exchange], Script]

_WORDS = ["alpha", "“bé”", "🦀", "back\\slash", 'say "hi"', "two\nlines", "tail,"]

# Sixty tokens, each told from every other, none of which ends with white space.
TOKENS = [f"{' ' if n else ''}{_WORDS[n % len(_WORDS)]}{n}" for n in range(60)]
TEXT = "".join(TOKENS)

# Another sixty, different from the first on.
OTHER_TOKENS = [f"{' ' if n else ''}other{n}" for n in range(60)]
OTHER_TEXT = "".join(OTHER_TOKENS)


def rechunked(text: str, size: int = 7) -> list[str]:
    """The same text in other tokens."""
    return [text[start : start + size] for start in range(0, len(text), size)]


@dataclass(frozen=True)
class Usage:
    """What an answer reports to have taken."""

    prompt: int = 11
    completion: int = 60


# --- Plays.


def answers(tokens: Sequence[str] = TOKENS, usage: Usage = Usage(), *, pause: float = 0.0) -> Play:
    """The whole answer."""
    return lambda exchange: replace(_whole(exchange, tokens, usage), pause=pause)


def refuses(
    status: int, message: str, *, kind: str = "server_error", code: str | None = None, retry_after: int | None = None
) -> Play:
    """An error before any event."""

    def play(exchange: Exchange) -> Script:
        if _anthropic(exchange):
            body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
        else:
            body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        headers = [] if retry_after is None else [("Retry-After", str(retry_after))]
        return Script(
            [json.dumps(body).encode()],
            status=status,
            content_type="application/json",
            headers=headers,
            framing="length",
        )

    return play


def resets() -> Play:
    """The connection is reset before any byte."""
    return lambda _: Script([], headless=True, ending=Ending.RESET)


def says_nothing() -> Play:
    """The request is taken, and there is never an answer."""
    return lambda _: Script([], headless=True, ending=Ending.SILENT)


def starts_late(seconds: float, *, role_first: bool = False) -> Play:
    """The head at once (and the role, which is no content yet); the rest after so many seconds."""

    def play(exchange: Exchange) -> Script:
        first = len(_speech(exchange, TOKENS, Usage()).opening) if role_first else 0
        return replace(_whole(exchange, TOKENS, Usage()), waits={first: seconds})

    return play


def cuts(after: int, ending: Ending = Ending.CLOSED, tokens: Sequence[str] = TOKENS) -> Play:
    """The stream ends after so many tokens, without saying that the answer had come to its end."""

    def play(exchange: Exchange) -> Script:
        speech = _speech(exchange, tokens, Usage())
        return Script([*speech.opening, *speech.tokens[:after]], ending=ending)

    return play


def cuts_inside(after: int, ending: Ending = Ending.CLOSED) -> Play:
    """The stream ends in the middle of the event behind so many tokens."""

    def play(exchange: Exchange) -> Script:
        speech = _speech(exchange, TOKENS, Usage())
        half = speech.tokens[after][: -len(speech.tokens[after]) // 3]
        return Script([*speech.opening, *speech.tokens[:after], half], ending=ending)

    return play


def goes_silent(after: int) -> Play:
    """After so many tokens nothing comes any more, and the connection stays open."""
    return cuts(after, Ending.SILENT)


REPORTED = "the engine ran out of memory"


def reports(after: int) -> Play:
    """After so many tokens an event that reports an error, and the end."""

    def play(exchange: Exchange) -> Script:
        speech = _speech(exchange, TOKENS, Usage())
        error = {"type": "overloaded_error", "message": REPORTED}
        if _anthropic(exchange):
            event = f"event: error\ndata: {json.dumps({'type': 'error', 'error': error})}\n\n"
        else:
            event = f"data: {json.dumps({'error': {**error, 'code': None, 'param': None}})}\n\n"
        return Script([*speech.opening, *speech.tokens[:after], event.encode()])

    return play


BROKEN = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'


def babbles(after: int) -> Play:
    """One event of invalid JSON after so many tokens; all the rest is as it should be."""

    def play(exchange: Exchange) -> Script:
        speech = _speech(exchange, TOKENS, Usage())
        return Script([*speech.opening, *speech.tokens[:after], BROKEN, *speech.tokens[after:], *speech.closing])

    return play


def forgets_done(usage: Usage = Usage()) -> Play:
    """The whole answer, ended properly, but without its `[DONE]`."""

    def play(exchange: Exchange) -> Script:
        script = _whole(exchange, TOKENS, usage)
        assert script.pieces[-1] == _DONE
        return replace(script, pieces=script.pieces[:-1])

    return play


def continues(tokens: Sequence[str] = TOKENS, usage: Usage = Usage()) -> Play:
    """Takes the beginning of an answer as a last message of the assistant, and says only the rest."""

    def play(exchange: Exchange) -> Script:
        begun = prefill_of(exchange)
        if begun is None:
            return _whole(exchange, tokens, usage)
        whole = "".join(tokens)
        if not whole.startswith(begun):
            return refuses(400, f"the prefill is not the text so far: {begun!r}")(exchange)
        return _whole(exchange, rechunked(whole[len(begun) :]), usage)

    return play


PREFILL_REFUSAL = "the last message must not be of the assistant"


def refuses_prefill(otherwise: Play) -> Play:
    """400 to a request that ends with a message of the assistant."""
    refusal = refuses(400, PREFILL_REFUSAL, kind="invalid_request_error")
    return lambda exchange: (otherwise if prefill_of(exchange) is None else refusal)(exchange)


# --- The backend.


class Faulty(Backend):
    """A backend of plays, and what it saw."""

    def __init__(self, loop: Loop, *plays: Play) -> None:
        self._plays = plays
        self._before = 0
        super().__init__(loop, self._play)

    @property
    def attempts(self) -> int:
        """How often it was asked."""
        return len(self.exchanges)

    @property
    def gaps(self) -> list[float]:
        """The seconds from each request to the next."""
        times = [exchange.at for exchange in self.exchanges]
        return [after - before for before, after in zip(times, times[1:], strict=False)]

    def become(self, *plays: Play) -> None:
        """What holds from now on."""
        self._plays, self._before = plays, len(self.exchanges)

    def _play(self, exchange: Exchange) -> Script:
        number = len(self.exchanges) - 1 - self._before
        return self._plays[min(number, len(self._plays) - 1)](exchange)


def asked(exchange: Exchange) -> dict[str, Any]:
    """The JSON of a request."""
    return json.loads(exchange.body)


def prefill_of(exchange: Exchange) -> str | None:
    """The text of the last message, if that is the assistant's."""
    last = asked(exchange)["messages"][-1]
    if last["role"] != "assistant":
        return None
    content = last["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


# --- What is said.


@dataclass(frozen=True)
class _Speech:
    opening: list[bytes]
    tokens: list[bytes]
    closing: list[bytes]


_DONE = b"data: [DONE]\n\n"


def _whole(exchange: Exchange, tokens: Sequence[str], usage: Usage) -> Script:
    if not asked(exchange).get("stream"):
        return _document(asked(exchange), "".join(tokens), usage)
    speech = _speech(exchange, tokens, usage)
    return Script([*speech.opening, *speech.tokens, *speech.closing])


def _document(request: dict[str, Any], text: str, usage: Usage) -> Script:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": request["model"],
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        },
    }
    return Script([json.dumps(answer).encode()], content_type="application/json", framing="length")


def _speech(exchange: Exchange, tokens: Sequence[str], usage: Usage) -> _Speech:
    return (_messages if _anthropic(exchange) else _chat)(asked(exchange), tokens, usage)


def _anthropic(exchange: Exchange) -> bool:
    return exchange.target.split("?")[0].endswith("/messages")


def _chat(request: dict[str, Any], tokens: Sequence[str], usage: Usage) -> _Speech:
    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000,
            "model": request["model"],
            "choices": choices,
            **more,
        }
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    closing = [event(choice({}, "stop"))]
    if (request.get("stream_options") or {}).get("include_usage"):
        counts = {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        }
        closing.append(event([], usage=counts))
    return _Speech(
        [event(choice({"role": "assistant", "content": ""}))],
        [event(choice({"content": token})) for token in tokens],
        [*closing, _DONE],
    )


def _messages(request: dict[str, Any], tokens: Sequence[str], usage: Usage) -> _Speech:
    def event(kind: str, **more: Any) -> bytes:
        payload = json.dumps({"type": kind, **more}, ensure_ascii=False)
        return f"event: {kind}\ndata: {payload}\n\n".encode()

    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": usage.prompt, "output_tokens": 1},
    }
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    return _Speech(
        [
            event("message_start", message=message),
            event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        ],
        [event("content_block_delta", index=0, delta={"type": "text_delta", "text": token}) for token in tokens],
        [
            event("content_block_stop", index=0),
            event("message_delta", delta=ending, usage={"output_tokens": usage.completion}),
            event("message_stop"),
        ],
    )
