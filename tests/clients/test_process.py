"""The binary as an operator and a container meet it: signals, exit codes, environment, commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

import recordings
from backend import Ending, Script
from conftest import StartBackend, StartGateway, StartProgram
from gateway import binary, event_route, model_route, status_of
from processes import LIMIT, ROOT, accepts, free_port, until
from sdks import Job, run_python
from test_curl import CUT_OFF, TICKS


def command(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the binary to its end."""
    return subprocess.run(
        [binary(), *arguments], capture_output=True, text=True, timeout=LIMIT, env={**os.environ, **(env or {})}
    )


def test_sigterm_lets_a_running_stream_finish(
    backend: StartBackend, gateway: StartGateway, program: StartProgram
) -> None:
    source = backend(Script(TICKS, lockstep=True))
    running = gateway(event_route(source.url))
    client = program(["curl", "-sS", "-N", running.url])
    source.exchange().release()
    assert client.read_until(b"\n\n") == TICKS[0]

    running.program.process.send_signal(signal.SIGTERM)
    until(lambda: status_of(f"{running.admin_url}/readyz") != 200, "the gateway to say that it is not ready")
    until(lambda: not accepts(running.port), "the gateway to accept nothing new")
    source.exchange().release(len(TICKS))
    assert client.read_all() == b"".join(TICKS[1:])
    assert client.wait() == 0, client.errors()
    assert running.program.wait() == 0, running.program.errors()


def test_sigterm_ends_streams_at_the_limit(backend: StartBackend, gateway: StartGateway, program: StartProgram) -> None:
    source = backend(Script(TICKS[:1], ending=Ending.SILENT))
    running = gateway(event_route(source.url), server='drain = "1s"')
    client = program(["curl", "-sS", "-N", running.url])
    assert client.read_until(b"\n\n") == TICKS[0]
    running.program.process.send_signal(signal.SIGTERM)
    assert client.read_all() == b""
    assert client.wait() in CUT_OFF, client.errors()
    running.program.wait()
    source.exchange().must_be_cancelled()


def test_sigterm_of_an_idle_gateway_ends_it_at_once(backend: StartBackend, gateway: StartGateway) -> None:
    source = backend(Script([b"ok"], content_type="text/plain", framing="length"))
    running = gateway(event_route(source.url), server='drain = "600s"')
    with urllib.request.urlopen(running.url, timeout=LIMIT) as answer:
        assert answer.read() == b"ok"
    running.program.process.send_signal(signal.SIGTERM)
    assert running.program.wait() == 0


def test_health_tells_by_its_exit_code(backend: StartBackend, gateway: StartGateway) -> None:
    running = gateway(event_route(backend(Script(TICKS)).url))
    assert command("health", "--config", running.config).returncode == 0
    running.stop()
    sick = command("health", "--config", running.config)
    assert sick.returncode != 0
    assert sick.stderr + sick.stdout


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_address_can_be_overridden(by: str, backend: StartBackend, program: StartProgram, tmp_path: Path) -> None:
    source = backend(Script(TICKS))
    config = tmp_path / "container.toml"
    written, wanted = free_port(), free_port()
    config.write_text(f'[server]\nlisten = "127.0.0.1:{written}"\n\n{event_route(source.url)}')
    address = f"127.0.0.1:{wanted}"
    running = program(
        [binary(), "--config", config, *(["--listen", address] if by == "option" else [])],
        env={"DELTAWAY_LISTEN": address} if by == "environment" else {},
        read=False,
    )

    def up() -> bool:
        assert running.process.poll() is None, running.errors()
        return accepts(wanted)

    until(up, f"the gateway on {address}")
    with urllib.request.urlopen(f"http://{address}", timeout=LIMIT) as answer:
        assert answer.read() == b"".join(TICKS)
    assert not accepts(written)


def test_check_reports_every_fault_at_once(tmp_path: Path) -> None:
    config = tmp_path / "faulty.toml"
    config.write_text(
        '[server]\nlisten = "127.0.0.1:8080"\nlisten_on = 1\n\n'
        '[upstreams.model]\nurl = "http://127.0.0.1:9000"\ncredentials = { bearer = "${A_KEY_THAT_NOBODY_SET}" }\n\n'
        '[routes.chat]\npath = "/v1/*"\nto = "nowhere"\nheartbeat = "15 parsecs"\n'
    )
    checked = command("check", "--config", config)
    said = checked.stdout + checked.stderr
    assert checked.returncode != 0
    for line, fault in ((3, "listen_on"), (7, "A_KEY_THAT_NOBODY_SET"), (11, "nowhere"), (12, "heartbeat")):
        assert fault in said, said
        assert f"{config}:{line}:" in said, said


def test_check_accepts_every_shipped_configuration() -> None:
    shipped = sorted((ROOT / "config").glob("*.toml"))
    assert ROOT / "config" / "deltaway.toml" in shipped
    for config in shipped:
        # What its reader is told to set.
        variables = re.findall(r"\$\{(\w+)\}", config.read_text())
        checked = command("check", "--config", config, env=dict.fromkeys(variables, "a-value"))
        assert checked.returncode == 0, f"{config}: {checked.stdout}{checked.stderr}"


def test_schema_is_json_schema() -> None:
    schema = json.loads(command("schema").stdout)
    assert "$schema" in schema
    assert {"server", "upstreams", "routes"} <= set(schema["properties"])


def test_explain_names_route_and_upstream() -> None:
    config = ROOT / "config" / "deltaway.toml"
    said = command("explain", "--config", config, "POST", "/v1/chat/completions", "--model", "demo")
    assert said.returncode == 0, said.stderr
    assert "demo" in said.stdout


def test_the_embedded_demo_answers_the_sdk(program: StartProgram, tmp_path: Path) -> None:
    until(lambda: not accepts(9090), "port 9090, where the shipped configuration's admin listener goes, to be free")
    address = f"127.0.0.1:{free_port()}"
    running = program([binary()], env={"DELTAWAY_LISTEN": address}, cwd=tmp_path, read=False)

    def up() -> bool:
        assert running.process.poll() is None, running.errors()
        return status_of(f"http://{address}/") == 200

    until(up, "the gateway without arguments")
    (report,) = run_python([Job("chat", f"http://{address}", model="demo")])
    assert report.error is None
    assert recordings.text_of("openai-chat", report.items)
    assert len(report.items) > 3


def test_secrets_stay_out_of_the_log(backend: StartBackend, gateway: StartGateway) -> None:
    secret = "a-secret-of-ours"
    source = backend(Script.replay(recordings.load("deepseek/chat-emoji-85ad")))
    config = model_route(source.url).replace("\n\n", '\ncredentials = { bearer = "${THE_SECRET}" }\n\n', 1)
    running = gateway(config, env={"THE_SECRET": secret}, server="")
    (report,) = run_python([Job("chat", running.url, key="a-secret-of-the-caller")])
    assert report.error is None
    assert source.exchange().header("authorization") == f"Bearer {secret}"
    running.stop()
    logged = running.program.log.read_text()
    assert "/v1/chat/completions" in logged, "the request is in the access log"
    assert "secret" not in logged.replace("THE_SECRET", "")
