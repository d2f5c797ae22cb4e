"""The README's two commands, in a fresh clone, as a new user runs them.

A step of its own in `scripts/test`, since it builds once more: the clone is what is committed.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from conftest import StartProgram
from processes import LIMIT, ROOT, accepts, until
from recordings import events_of

# A release build of the crate itself, on a busy machine.
BUILD_LIMIT = 600.0


def commands() -> tuple[str, str]:
    """The two commands of the section that promises two."""
    section = (ROOT / "README.md").read_text().split("\n## Two commands\n", 1)[1].split("\n## ", 1)[0]
    first, second = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return first.strip(), second.strip()


def forget_builds() -> None:
    for known in (ROOT / "target" / "release" / ".fingerprint").glob("deltaway-*"):
        shutil.rmtree(known)


def test_the_two_commands_of_the_readme(program: StartProgram) -> None:
    serve, ask = commands()
    assert serve.startswith("cargo run"), serve
    for port in (8080, 9090):
        until(lambda: not accepts(port), f"port {port}, which the README's first command listens on, to be free")

    clone = ROOT / "target" / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=LIMIT)
    # Both before and after: of two trees with one target folder, cargo takes the build of one for the other's.
    forget_builds()
    running = program(
        ["bash", "-c", f"exec {serve}"],
        cwd=clone,
        env={"CARGO_TARGET_DIR": str(ROOT / "target")},
        read=False,
    )

    def up() -> bool:
        assert running.process.poll() is None, running.errors()
        return accepts(8080)

    until(up, "the README's first command to serve", limit=BUILD_LIMIT)
    client = program(["bash", "-c", ask])
    events = events_of(client.read_all())
    assert client.wait() == 0, client.errors()
    assert len(events) > 3
    # The answer is kept: each event has an id, rising by one.
    ids = [re.match(rb"id: (\w+)\.(\d+)\n", event) for event in events]
    assert [int(found[2]) for found in ids if found] == list(range(1, len(events) + 1))
    assert len({found[1] for found in ids if found}) == 1
    assert events[-1].endswith(b"\ndata: [DONE]\n\n")
    forget_builds()
