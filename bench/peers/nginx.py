"""nginx as a plain proxy: the floor. It checks no key, reads no body and writes no log."""

from __future__ import annotations

from pathlib import Path

from bench.contestant import PEERS, Contestant, Launch, Upstreams, first_number, on_path


def contestant() -> Contestant:
    program = on_path("nginx")

    def launch(port: int, upstreams: Upstreams, folder: Path) -> Launch:
        text = (PEERS / "nginx.conf").read_text()
        config = folder / "nginx.conf"
        config.write_text(text.replace("@LISTEN@", str(port)).replace("@UPSTREAM@", str(upstreams.chat)))
        return Launch([program or "nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)])

    return Contestant(
        name="nginx",
        about="a plain proxy, the floor: no key check, no log",
        ways=("chat",),
        version=first_number([program, "-v"]) if program else "",
        launch=launch,
        missing="" if program else "not installed: `apt install nginx-light`",
    )
