"""Configurations with a primary and a fallback, and what a gateway says of its attempts."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass
from typing import Any

from faulty import Faulty
from gateway import Gateway
from processes import LIMIT, until

FALLBACK_MODEL = "fallback-model"

# Seconds within which something that is to happen "at once" has been seen to happen.
SOON = 1.0

# Short pauses, so that a test of retries takes no longer than it must.
RETRY = 'retry = { times = 2, pause = "40ms", longest = "5s" }'
RETRIES = 2
PAUSE = 0.04


def chain(
    primary: Faulty,
    fallback: Faulty | None = None,
    *,
    route: str = "",
    kept: bool = False,
    larger: bool = False,
    primary_keys: str = "",
    fallback_keys: str = "",
) -> str:
    """A route for model APIs to `primary`, then to `fallback`; `route` is more of the route's keys."""
    entries = ['"primary"']
    upstreams = [f'[upstreams.primary]\nurl = "{primary.url}"\n{primary_keys}\n']
    if fallback is not None:
        mark = ", larger = true" if larger else ""
        entries.append(f'{{ upstream = "fallback", model = "{FALLBACK_MODEL}"{mark} }}')
        upstreams.append(f'[upstreams.fallback]\nurl = "{fallback.url}"\n{fallback_keys}\n')
    keys = ['path = "/v1/*"', f"to = [{', '.join(entries)}]", route]
    if "retry" not in route:
        keys.append(RETRY)
    if kept:
        keys.append("resume = true")
    return "\n".join([*upstreams, "[routes.chat]", *keys, ""])


@dataclass(frozen=True)
class Sample:
    """One line of the metrics."""

    name: str
    labels: dict[str, str]
    value: float


def samples(gateway: Gateway) -> list[Sample]:
    """All metrics as they are now."""
    with urllib.request.urlopen(f"{gateway.admin_url}/metrics", timeout=LIMIT) as answer:
        lines = answer.read().decode().splitlines()
    found = []
    for line in lines:
        if match := re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line):
            labels = dict(re.findall(r'([a-z_]+)="([^"]*)"', match[2] or ""))
            found.append(Sample(match[1], labels, float(match[3])))
    return found


def total(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of a metric over all its lines with these labels."""
    return sum(
        sample.value
        for sample in samples(gateway)
        if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
    )


def requests_logged(gateway: Gateway, count: int = 1) -> list[dict[str, Any]]:
    """The lines of the access log, once there are so many; they are written when an answer has ended."""

    def lines() -> list[dict[str, Any]] | None:
        logged = gateway.program.log.read_text(errors="replace").splitlines()
        whole = [json.loads(text) for text in logged if text.startswith("{") and text.endswith("}")]
        found = [line for line in whole if line["message"] == "request"]
        return found if len(found) >= count else None

    return until(lines, f"{count} lines of the access log")


def must_rest(gateway: Gateway) -> None:
    """Waits until the gateway serves nobody any more: nothing of a request was left behind."""
    name = "deltaway_requests_in_flight"
    until(lambda: [sample.value for sample in samples(gateway) if sample.name == name] == [0], "no request in flight")
