"""An S3 server on loopback that fails as often as it is told to."""

import itertools
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_BUSY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>%s</Code><Message>injected</Message></Error>"""


class ObjectServer:
    """moto behind a door that turns some writers away.

    Attributes:
        every: Of so many puts one fails; 0 for none, 1 for all.
        puts: Puts so far.
        failed: Those that failed.
    """

    def __init__(self):
        self.every = 0
        self.puts = self.failed = 0
        self._number = itertools.count()
        self._app = DomainDispatcherApplication(create_backend_app)
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        """Begin to answer; after `stop` at the same place, with what was put there."""
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self):
        """Answer nobody any more: connections are refused."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self):
        """What clients need to find the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _answer(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") > 1:
            self.puts += 1
            number = next(self._number)
            if self.every and number % self.every == self.every - 1:
                self.failed += 1
                # Part of the body is read, then the answer is a refusal: half the
                # time "slow down", half the time an error of the server.
                environ["wsgi.input"].read(min(int(environ["CONTENT_LENGTH"]), 4096))
                status, code = (
                    ("503 Slow Down", b"SlowDown")
                    if self.failed % 2
                    else ("500 Internal Server Error", b"InternalError")
                )
                start_response(
                    status,
                    [("Content-Type", "application/xml"), ("Connection", "close")],
                )
                return [_BUSY % code]
        return self._app(environ, start_response)
