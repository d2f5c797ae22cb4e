"""nginx as people run it: in front of the gateway with its defaults, or as an upstream behind it."""

from __future__ import annotations

from pathlib import Path

from processes import Program, accepts, free_port, until

_CONFIG = """\
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream behind {{
        server {to};
        {upstream}
    }}
    server {{
        listen 127.0.0.1:{port};
        {server}
        location / {{
            proxy_pass http://behind;
            {location}
        }}
    }}
}}
"""


class Nginx:
    """One running nginx. Without options it proxies as a bare `proxy_pass` does: HTTP/1.0, buffered."""

    def __init__(self, folder: Path, to: str, *, server: str = "", upstream: str = "", location: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder = folder / f"nginx-{self.port}"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                port=self.port,
                to=to.removeprefix("http://"),
                server=server,
                upstream=upstream,
                location=location,
            )
        )
        # The workers run as whoever runs the tests, who alone can enter the folder.
        self.program = Program(
            ["nginx", "-p", folder, "-c", config, "-e", "stderr", "-g", "daemon off; user root;"],
            log=folder / "nginx.log",
            read=False,
        )
        try:
            until(self._up, "nginx to listen")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it: its master ends the workers."""
        self.program.stop()

    def _up(self) -> bool:
        if self.program.process.poll() is not None:
            raise AssertionError(f"nginx did not start:\n{self.program.errors()}")
        return accepts(self.port)
