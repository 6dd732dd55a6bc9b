"""The metadata services of AWS and Google Cloud, as far as spot notices need them; refuse what the real ones refuse."""

import json
import math
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MetadataService(ThreadingHTTPServer):
    """The services of all machines at one address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.notices = 0.0
        """How many more requests are answered with a notice."""
        self.ends: datetime | None = None
        """When the instance ends; None: in two minutes."""
        self.down = False
        self.requests = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, ends: datetime | None = None, instances: float = math.inf) -> None:
        """Announce that instances end."""
        self.notices, self.ends = instances, ends

    def is_taken(self) -> bool:
        """Whether the instance that asks has a notice."""
        self.notices -= 1
        return self.notices >= 0

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: MetadataService

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.answer(200, "secret") if known else self.answer(400)

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.down:
            self.answer(503)
        elif self.path == "/latest/meta-data/spot/instance-action":
            if self.headers["X-aws-ec2-metadata-token"] != "secret":
                self.answer(401)
            elif self.server.is_taken():
                ends = self.server.ends or datetime.now(UTC) + timedelta(minutes=2)
                self.answer(200, json.dumps({"action": "terminate", "time": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}))
            else:
                self.answer(404)
        elif (
            self.path == "/computeMetadata/v1/instance/preempted"
            and self.headers["Metadata-Flavor"] == "Google"
        ):
            self.answer(200, "TRUE" if self.server.is_taken() else "FALSE")
        else:
            self.answer(403)

    def answer(self, code: int, text: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass
