"""An HTTP proxy before a store, which falls ill as a case wants it: it refuses, lies about what is there, cuts
answers short, is away, or lets somebody write in the very moment before a request is passed on.
"""

import http.client
import http.server
import socket
import threading
import urllib.parse
from xml.sax.saxutils import escape


class Answer:
    """What goes back to the client."""

    def __init__(self, status, body=b"", headers=(), length=None):
        self.status, self.body, self.headers = status, body, list(headers)
        # Of what HEAD speaks of and does not send.
        self.length = len(body) if length is None else length

    @staticmethod
    def error(status, code):
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>ill on purpose</Message></Error>'
        return Answer(status, body.encode(), [("Content-Type", "application/xml")])


class Cut(Exception):
    """The connection ends; of the answer so many bytes go out first."""

    def __init__(self, answer=None, after=0):
        super().__init__("cut")
        self.answer, self.after = answer, after


class Asked:
    """A request as the proxy got it."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.key = urllib.parse.unquote(path.lstrip("/").partition("/")[2])
        self.is_list = method == "GET" and "list-type" in self.query
        self.is_write = method in ("PUT", "POST", "DELETE")
        self.is_copy = method == "PUT" and "x-amz-copy-source" in {name.lower() for name, _ in headers}

    @property
    def file(self):
        """Whether it is about a user's file."""
        return not self.is_list and "/.artifacts/" not in f"/{self.key}"


class IllStore:
    """Passes all on, until it is given rules: `before` are asked with each request, `after` with request and answer.
    The first that returns an Answer, or raises Cut, decides."""

    def __init__(self, endpoint):
        where = urllib.parse.urlsplit(endpoint)
        self.to = (where.hostname, where.port)
        self.before, self.after, self.asked = [], [], []
        self.lock = threading.RLock()
        self._listen(0)

    def _listen(self, port):
        self.server = _Server(("127.0.0.1", port), _Handler)
        self.server.store = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def well(self):
        """No rule holds any more; what was asked is forgotten."""
        with self.lock:
            self.before, self.after, self.asked = [], [], []

    def away(self):
        """As a cut cable with a host that refuses: every connection ends, and no new one is taken."""
        self.server.shutdown()
        self.server.server_close()
        self.server.end_connections()
        self.thread.join()

    def back(self):
        self._listen(int(self.endpoint.rpartition(":")[2]))

    def end(self):
        self.server.shutdown()
        self.server.server_close()
        self.server.end_connections()

    # What goes wrong.

    def from_the(self, k, wanted, what):
        """From the k-th request on (from 0) of those that are wanted."""
        seen = 0

        def rule(asked):
            nonlocal seen
            if not wanted(asked):
                return None
            with self.lock:
                seen += 1
                if seen <= k:
                    return None
            return what(asked)

        self.before.append(rule)

    def once(self, wanted, what):
        """The first of those that are wanted; `what` may do something else and let it pass."""
        open_ = True

        def rule(asked):
            nonlocal open_
            with self.lock:
                if not open_ or not wanted(asked):
                    return None
                open_ = False
            return what(asked)

        self.before.append(rule)

    def refuse(self, wanted, status, code, k=0):
        self.from_the(k, wanted, lambda _: Answer.error(status, code))

    def count(self, wanted):
        with self.lock:
            return sum(1 for asked in self.asked if wanted(asked))

    def pass_on(self, asked):
        connection = http.client.HTTPConnection(*self.to, timeout=60)
        try:
            connection.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers:
                connection.putheader(name, value)
            connection.endheaders(asked.body or None)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            told = answer.getheader("Content-Length") if asked.method == "HEAD" else None
            return Answer(answer.status, answer.read(), kept, told)
        finally:
            connection.close()

    def answer(self, asked):
        with self.lock:
            self.asked.append(asked)
            before = list(self.before)
        for rule in before:
            if answer := rule(asked):
                return answer
        answer = self.pass_on(asked)
        with self.lock:
            after = list(self.after)
        for rule in after:
            answer = rule(asked, answer) or answer
        return answer


HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
LIST = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


def a_list(keys):
    """A listing of these: (key, ETag, size)."""
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>" for key, etag, size in keys)
    text = f"{LIST}<Name>b</Name><KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
    return Answer(200, text.encode(), [("Content-Type", "application/xml")])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments):
        self.open, self.guard = set(), threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        with self.guard:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.guard:
            self.open.discard(request)
        super().shutdown_request(request)

    def end_connections(self):
        with self.guard:
            for request in self.open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def handle_error(self, request, client_address):
        """A client that was killed is no trouble of ours."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def serve(self):
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        body = self._body()
        if body or self.headers.get("Content-Length"):
            headers.append(("Content-Length", str(len(body))))
        asked = Asked(self.command, self.path, headers, body)
        try:
            answer = self.server.store.answer(asked)
        except Cut as cut:
            if cut.answer:
                self._head(cut.answer)
                self.wfile.write(cut.answer.body[: cut.after])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        except OSError:
            self.close_connection = True
            return
        self._head(answer)
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _head(self, answer):
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()

    def log_message(self, *_):
        pass
