"""What a caller of a model API heard: with an official SDK, or reading the bytes."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai

import recordings

# Seconds until a caller gives up: below the longest that a test may take, above every clock in one.
PATIENCE = 18.0

MODEL = "first-model"


@dataclass
class Heard:
    """One answer as its caller understood it."""

    text: str = ""
    finish: str | None = None
    models: list[str] = field(default_factory=list)
    """Each model that was named, once, in order."""
    prompt: int | None = None
    completion: int | None = None
    error: Exception | None = None
    seconds: float = 0.0

    @property
    def status(self) -> int | None:
        """The status of a refusal."""
        return getattr(self.error, "status_code", None)

    def named(self, model: str) -> None:
        """Notes the model of an event."""
        if model not in self.models:
            self.models.append(model)


Ask = Callable[..., Heard]


def chat(url: str, *, model: str = MODEL) -> Heard:
    """Streams a chat completion with OpenAI's SDK, which is told not to try again."""
    heard = Heard()
    started = time.monotonic()
    try:
        with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=PATIENCE) as client:
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            with stream:
                for chunk in stream:
                    heard.named(chunk.model)
                    _hear_chunk(heard, chunk)
    # Whatever the SDK raises is what was heard; a test says whether it should have.
    except Exception as error:  # noqa: BLE001
        heard.error = error
    heard.seconds = time.monotonic() - started
    return heard


def messages(url: str, *, model: str = MODEL) -> Heard:
    """Streams a message with Anthropic's SDK, which is told not to try again."""
    heard = Heard()
    started = time.monotonic()
    try:
        with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
            stream = client.messages.create(
                model=model, max_tokens=1024, messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            with stream:
                for event in stream:
                    _hear_event(heard, event)
    except Exception as error:  # noqa: BLE001
        heard.error = error
    heard.seconds = time.monotonic() - started
    return heard


@dataclass
class Read:
    """One answer as its bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """Whether the body ended as its framing promised."""

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """The JSON of each event; `[DONE]` and events that are no JSON are left out."""
        found = []
        for event in recordings.events_of(self.body):
            try:
                found += recordings.payloads_of(event)
            except json.JSONDecodeError:
                continue
        return found

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The events that report an error."""
        return [payload for payload in self.payloads if payload.get("error")]

    @property
    def text(self) -> str:
        """The text of a chat completion."""
        return recordings.text_of("openai-chat", self.payloads)

    @property
    def finishes(self) -> list[str]:
        """Every reason to finish that was given."""
        choices = [choice for payload in self.payloads for choice in payload.get("choices") or []]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


_BODY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}


def read_chat(url: str, *, body: bytes | Iterator[bytes] = json.dumps(_BODY).encode()) -> Read:
    """Streams a chat completion without any SDK."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        got, whole = b"", True
        try:
            while piece := answer.read1(65536):
                got += piece
        except (OSError, http.client.HTTPException):
            whole = False
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Read(answer.status, headers, got, whole)
    finally:
        connection.close()


def _hear_chunk(heard: Heard, chunk: Any) -> None:
    for choice in chunk.choices:
        heard.text += choice.delta.content or ""
        heard.finish = choice.finish_reason or heard.finish
    if chunk.usage is not None:
        heard.prompt, heard.completion = chunk.usage.prompt_tokens, chunk.usage.completion_tokens


def _hear_event(heard: Heard, event: Any) -> None:
    if event.type == "message_start":
        heard.named(event.message.model)
        heard.prompt = event.message.usage.input_tokens
    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
        heard.text += event.delta.text
    elif event.type == "message_delta":
        heard.finish = event.delta.stop_reason or heard.finish
        heard.completion = event.usage.output_tokens
