"""The official SDKs, one face for both languages: a list of jobs in, a list of reports out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anthropic
import openai

from processes import LIMIT, Program

# Which call of which SDK speaks a dialect.
CALLS = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic-messages": "messages",
}

_MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Job:
    """One call of an SDK."""

    call: str
    url: str
    model: str = "a-model"
    stream: bool = True
    key: str = "caller-key"
    leave_after: int | None = None  # leave the stream after so many items


@dataclass(frozen=True)
class Failure:
    """What an SDK raised: the names of the exception's classes, nearest first."""

    classes: list[str]
    status: int | None
    message: str


@dataclass(frozen=True)
class Report:
    """What came of a job: every item that the SDK gave, as JSON."""

    items: list[dict[str, Any]]
    left: bool
    error: Failure | None


Run = Callable[[Sequence[Job]], list[Report]]


def run_python(jobs: Sequence[Job]) -> list[Report]:
    """Runs the jobs with the Python SDKs."""
    return [_run(job) for job in jobs]


def run_node(program: Program, jobs: Sequence[Job]) -> list[Report]:
    """Runs the jobs with the Node SDKs, in `node/sdks.mjs`; the process stays until it is stopped."""
    assert program.process.stdin is not None
    program.process.stdin.write(json.dumps([asdict(job) for job in jobs]).encode() + b"\n")
    program.process.stdin.flush()
    reports = json.loads(program.read_until(b"\n", limit=LIMIT + len(jobs)))
    return [
        Report(report["items"], report["left"], Failure(**report["error"]) if report["error"] else None)
        for report in reports
    ]


def _run(job: Job) -> Report:
    items: list[dict[str, Any]] = []
    try:
        answer = _start(job)
        if not job.stream:
            return Report([_json(answer)], False, None)
        with answer:
            for item in answer:
                items.append(_json(item))
                if len(items) == job.leave_after:
                    return Report(items, True, None)
    # Whatever an SDK raises is what this reports; a test then says whether it should have.
    except Exception as error:  # noqa: BLE001
        classes = [cls.__name__ for cls in type(error).__mro__]
        return Report(items, False, Failure(classes, getattr(error, "status_code", None), str(error)))
    return Report(items, False, None)


def _start(job: Job) -> Any:
    if job.call == "messages":
        client = anthropic.Anthropic(api_key=job.key, base_url=job.url, max_retries=0, timeout=LIMIT)
        return client.messages.create(model=job.model, max_tokens=1024, messages=_MESSAGES, stream=job.stream)
    speaker = openai.OpenAI(api_key=job.key, base_url=f"{job.url}/v1", max_retries=0, timeout=LIMIT)
    if job.call == "chat":
        return speaker.chat.completions.create(model=job.model, messages=_MESSAGES, stream=job.stream)
    return speaker.responses.create(model=job.model, input="Hello", stream=job.stream)


def _json(item: Any) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude_unset=True, warnings=False)
