"""The recorded answers of real model providers, and what they say.

What a client should have understood is worked out here from the recorded bytes alone, by code that
shares nothing with any SDK or with the gateway.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "recordings"

# Dialects as the recordings name them, and the path a client of that dialect asks for.
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)(?:\r\n|\n|\r)*", re.DOTALL)


@dataclass(frozen=True)
class Recording:
    """One recorded answer."""

    name: str
    dialect: str
    status: int
    content_type: str
    body: bytes
    streamed: bool

    @property
    def path(self) -> str:
        """The path that a client asks for."""
        return PATHS[self.dialect]

    @property
    def events(self) -> list[bytes]:
        """The body in pieces, each ending with the blank lines after an event; together they are the body."""
        return events_of(self.body)

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """The JSON of every event, `[DONE]` left out."""
        return payloads_of(self.body)

    @property
    def text(self) -> str:
        """The answer's text as a person would read it (first choice only)."""
        return text_of(self.dialect, self.payloads)

    @property
    def finished(self) -> bool:
        """Whether the model said that it had come to its end."""
        return b"data: [DONE]" in self.body or any(_finishes(payload) for payload in self.payloads)

    @property
    def failed(self) -> bool:
        """Whether the provider itself reported an error inside the stream."""
        return any(_is_error(payload) for payload in self.payloads)


@functools.cache
def load(name: str) -> Recording:
    """The recording `provider/name`."""
    folder = FOLDER / name
    meta = json.loads((folder / "meta.json").read_text())
    (file,) = folder.glob("response.*")
    content_type = re.sub(r" \(assumed\)$", "", meta.get("response_content_type") or "")
    return Recording(
        name=name,
        dialect=meta["dialect"],
        status=meta["status"],
        content_type=content_type or ("text/event-stream" if file.suffix == ".sse" else "application/json"),
        body=file.read_bytes(),
        streamed=file.suffix == ".sse",
    )


def streams(dialect: str) -> list[str]:
    """The names of all recorded 200 streams of a dialect."""
    return _named(dialect, streamed=True)


def answers(dialect: str) -> list[str]:
    """The names of all recorded 200 answers of a dialect that are one JSON document."""
    return _named(dialect, streamed=False)


def events_of(body: bytes) -> list[bytes]:
    """Cuts an event stream after each event; a rest without a blank line is a piece of its own."""
    pieces = _EVENT.findall(body)
    rest = body[sum(map(len, pieces)) :]
    return [*pieces, rest] if rest else pieces


def payloads_of(body: bytes) -> list[dict[str, Any]]:
    """The JSON of every event of an event stream, `[DONE]` left out."""
    found = []
    for event in events_of(body):
        lines = re.split(rb"\r\n|\n|\r", event)
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if data and not data.startswith(b"[DONE]"):
            found.append(json.loads(data))
    return found


def text_of(dialect: str, payloads: list[dict[str, Any]]) -> str:
    """The text that the payloads of a stream add up to."""
    if dialect == "openai-chat":
        return "".join(_chat_text(payload) for payload in payloads)
    if dialect == "openai-responses":
        return "".join(p["delta"] for p in payloads if p.get("type") == "response.output_text.delta")
    return "".join(
        p["delta"]["text"]
        for p in payloads
        if p.get("type") == "content_block_delta" and p["delta"]["type"] == "text_delta"
    )


@functools.cache
def _named(dialect: str, *, streamed: bool) -> list[str]:
    names = [f"{meta.parent.parent.name}/{meta.parent.name}" for meta in sorted(FOLDER.glob("*/*/meta.json"))]
    found = [load(name) for name in names]
    return [r.name for r in found if r.dialect == dialect and r.streamed == streamed and r.status == 200]


def _chat_text(payload: dict[str, Any]) -> str:
    choices = payload.get("choices") or []
    content = choices[0].get("delta", {}).get("content") if choices and choices[0].get("index", 0) == 0 else None
    return content if isinstance(content, str) else ""


def _finishes(payload: dict[str, Any]) -> bool:
    if payload.get("type") in ("message_stop", "response.completed", "response.incomplete", "response.failed"):
        return True
    return any(choice.get("finish_reason") for choice in payload.get("choices") or [])


def _is_error(payload: dict[str, Any]) -> bool:
    return bool(payload.get("error")) or payload.get("type") == "error"
