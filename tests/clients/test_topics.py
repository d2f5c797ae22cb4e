"""Topics with curl, as somebody follows a tutorial: subscribe, send to one user, send to all again and again."""

from __future__ import annotations

import json
import re
import subprocess

from backend import Script
from conftest import StartBackend, StartGateway, StartProgram
from processes import LIMIT

# The example that the documentation begins with.
CONFIG = """
[upstreams.feed]
url = "%s"

[routes.prices]
path = "/events/*"
to = "feed"
share = true

[routes.chat]
path = "/v1/chat/completions"
to = "feed"
resume = true
dedupe = true

[routes.topics]
path = "/topics/{topic}"
publish = "{topic}"
subscribe = "{topic}"

[routes.notify]
path = "/sse-connect"
subscribe = ["user/{query.userId}", "all"]
greeting = "welcome"
max_age = "30m"

[routes.send]
path = "/send/{topic*}"
publish = "{topic}"

[topics."user/*"]
history = { events = 200, age = "1h" }
"""

ID = rb"id: [0-9a-hjkmnp-tv-z]{12}\.\d+\n"

# Publishes every two seconds until it is told to stop, or for ten.
METRICS = """
end=$((SECONDS + 10))
while [ $SECONDS -lt $end ]; do
    curl -sS -d '{"cpu":0.5}' "$1/send/all?event=system-metrics" || exit
    echo
    sleep 2
done
"""


def test_curl_subscribes_and_gets_what_is_sent_to_it_and_to_all(
    backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    url = gateway(CONFIG % backend(Script([])).url).url
    # These are two header fields named `Key` and `Value`, as a form for headers has been copied from: no harm.
    client = program(
        ["curl", "-N", "-H", "Key: Accept", "-H", "Value: text/event-stream", f"{url}/sse-connect?userId=1"]
    )
    assert re.fullmatch(ID + b"\n", client.read_until(b"\n\n"))
    assert client.read_until(b"\n\n") == b"data: welcome\n\n"

    sent = subprocess.run(["curl", "-sS", "-d", "hi", f"{url}/send/user/1"], capture_output=True, timeout=LIMIT, check=True)
    (id_,) = json.loads(sent.stdout)["ids"]
    assert client.read_until(b"\n\n") == f"id: {id_}\ndata: hi\n\n".encode()
    subprocess.run(["curl", "-sS", "-d", "not yours", f"{url}/send/user/2"], capture_output=True, timeout=LIMIT, check=True)

    metrics = program(["bash", "-c", METRICS, "metrics", url])
    for _ in range(3):
        event = client.read_until(b"\n\n")
        assert re.fullmatch(ID + rb'event: system-metrics\ndata: \{"cpu":0\.5\}\n\n', event), event
        assert event.startswith(b"id: %b\n" % json.loads(metrics.read_until(b"\n"))["ids"][0].encode())


def test_curl_comes_back_and_gets_what_it_missed(
    backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    url = gateway(CONFIG % backend(Script([])).url).url

    def send(data: str) -> None:
        subprocess.run(["curl", "-sS", "-d", data, f"{url}/send/user/1"], capture_output=True, timeout=LIMIT, check=True)

    client = program(["curl", "-sS", "-N", f"{url}/sse-connect?userId=1"])
    client.read_until(b"data: welcome\n\n")
    send("one")
    seen = client.read_until(b"data: one\n\n").split(b"\n")[0].removeprefix(b"id: ").decode()
    client.stop()
    send("two")
    send("three")
    back = program(["curl", "-sS", "-N", "-H", f"Last-Event-ID: {seen}", f"{url}/sse-connect?userId=1"])
    back.read_until(b"data: welcome\n\n")
    assert re.fullmatch(ID + b"data: two\n\n", back.read_until(b"\n\n"))
    assert re.fullmatch(ID + b"data: three\n\n", back.read_until(b"\n\n"))
