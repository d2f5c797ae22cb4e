"""The built binary: started with a configuration on free ports, and stopped."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from processes import ROOT, Program, free_port, until


def binary() -> Path:
    """The program under test: `DELTAWAY_BIN`, which `scripts/test` sets, or cargo's quick build."""
    path = Path(os.environ.get("DELTAWAY_BIN") or ROOT / "target" / "debug" / "deltaway")
    assert path.is_file(), f"{path} is not built"
    return path


class Gateway:
    """One running gateway."""

    def __init__(
        self, folder: Path, config: str, *, env: Mapping[str, str] | None = None, server: str = ""
    ) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.config = folder / f"deltaway-{self.port}.toml"
        self.config.write_text(
            f'[server]\nlisten = "127.0.0.1:{self.port}"\n{server}\n\n'
            f'[admin]\nlisten = "127.0.0.1:{self.admin_port}"\n\n{config}'
        )
        self.program = Program(
            [binary(), "--config", self.config],
            log=folder / f"deltaway-{self.port}.log",
            env=env,
            cwd=folder,
            read=False,
        )
        try:
            until(self._ready, "/readyz of the gateway")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it."""
        self.program.stop()

    def _ready(self) -> bool:
        if self.program.process.poll() is not None:
            raise AssertionError(f"the gateway did not start with {self.config}:\n{self.program.errors()}")
        return status_of(f"{self.admin_url}/readyz") == 200


def status_of(url: str) -> int | None:
    """The status of a GET, or none when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except (OSError, http.client.HTTPException):
        return None


def model_route(url: str, extra: str = "") -> str:
    """The shortest useful configuration: everything below `/v1` goes to `url`."""
    return f'[upstreams.model]\nurl = "{url}"\n\n[routes.chat]\npath = "/v1/*"\nto = "model"\n{extra}'


def event_route(url: str, extra: str = "") -> str:
    """A route for plain event streams (no model API): everything goes to `url`."""
    return f'[upstreams.events]\nurl = "{url}"\n\n[routes.events]\npath = "/*"\nto = "events"\n{extra}'
