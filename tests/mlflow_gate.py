"""A gate in front of MLflow's server: counts the requests that pass, and refuses some, as accounts do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BODIES = {401: b"You are not authenticated.", 403: b"Permission denied"}
"""What MLflow's own accounts answer."""


@dataclass
class Gate:
    """The state of the gate."""

    server: str
    uri: str = ""
    refused: dict[str, int] = field(default_factory=dict)
    """Statuses with which requests are refused, by the end of their path."""
    passed: list[str] = field(default_factory=list)
    """Method and path of each request to the server."""


@contextmanager
def gated(server: str) -> Iterator[Gate]:
    """Within this context, the server is also available at the gate's URI."""
    gate = Gate(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = urlsplit(self.path).path
            status = next((code for end, code in gate.refused.items() if path.endswith(end)), None)
            headers: list[tuple[str, str]] = []
            if status is None:
                gate.passed.append(f"{self.command} {path}")
                connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                status, content, headers = answer.status, answer.read(), answer.getheaders()
                connection.close()
            else:
                content = BODIES[status]
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in (
                    "content-length",
                    "transfer-encoding",
                    "connection",
                    "server",
                    "date",
                ):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gate.uri = f"http://127.0.0.1:{proxy.server_port}"
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield gate
    finally:
        proxy.shutdown()
        proxy.server_close()
