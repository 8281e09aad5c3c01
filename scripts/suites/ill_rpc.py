"""RPCs of a chain that stand before the real one and can be ill.

An illness is a function of the RPC and the calls of one request; it gives the answers, bytes in place of
an answer, or `None` for a connection that ends without one.
"""

import http.server
import json
import random
import socket
import threading
import urllib.request


def call(endpoint, method, *parameters):
    """One call to a chain, answered or an error."""
    return ask(endpoint, [{"jsonrpc": "2.0", "id": 0, "method": method, "params": list(parameters)}])[0]["result"]


def ask(endpoint, calls):
    request = urllib.request.Request(endpoint, json.dumps(calls).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


class IllRpc:
    """An RPC at an address that stays the same while it dies and lives again."""

    def __init__(self, chain):
        self.chain, self.illness, self.server, self.port = chain, None, None, 0
        self.asked = self.dropped = 0
        self.healed = threading.Event()
        self.rise()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def rise(self):
        rpc = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                calls = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = rpc.answer(calls)
                if answer is None:
                    # At once, so that nobody waits for an answer.
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, body = answer
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *_):
                """Whoever asked has gone: that is no fault here."""

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def die(self):
        """Nobody listens any more."""
        self.server.shutdown()
        self.server.server_close()
        self.server = None

    def fall_ill(self, illness):
        self.healed.clear()
        self.asked = self.dropped = 0
        self.illness = illness

    def heal(self):
        self.illness = None
        self.healed.set()
        if self.server is None:
            self.rise()

    def answer(self, calls):
        self.asked += 1
        illness = self.illness
        answer = ask(self.chain, calls) if illness is None else illness(self, calls)
        if answer is None:
            self.dropped += 1
            return None
        if isinstance(answer, tuple):
            return answer
        return 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def with_results(change):
    """Each answer as `change` of the call and the true result makes it."""

    def illness(rpc, calls):
        answers = ask(rpc.chain, calls)
        by_id = {call["id"]: call for call in calls}
        for answer in answers:
            if "result" in answer:
                answer["result"] = change(by_id[answer["id"]], answer["result"])
        return answers

    return illness


def with_calls(change):
    """The chain is asked something else."""
    return lambda rpc, calls: ask(rpc.chain, [change(call) for call in calls])


def hangs(rpc, calls):
    rpc.healed.wait(60)
    return None


def flaky(percent, seed):
    """Ends so many connections of a hundred: half of them before the chain is asked, half after."""
    chance = random.Random(seed)

    def illness(rpc, calls):
        drawn = chance.random() * 100
        if drawn < percent / 2:
            return None
        answers = ask(rpc.chain, calls)
        return None if drawn < percent else answers

    return illness


def is_latest(call):
    return call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest"


def of_chain(number):
    return with_results(lambda call, result: hex(number) if call["method"] == "eth_chainId" else result)


def newest_is(change):
    """The newest block as `change` makes it."""
    return with_results(lambda call, result: change(result) if is_latest(call) else result)


def keeps_back(block):
    """An older block is the newest one."""
    return newest_is(lambda true: block)


def calls_instead(wanted, other):
    """Calls of one contract go to another."""

    def change(call):
        if call["method"] == "eth_call" and call["params"][0]["to"].lower() == wanted.lower():
            call = {**call, "params": [{**call["params"][0], "to": other}, *call["params"][1:]]}
        return call

    return with_calls(change)


def says(contract, result):
    """One contract's answer is this, whatever is asked."""

    def change(call, true):
        return result if call["method"] == "eth_call" and call["params"][0]["to"].lower() == contract.lower() else true

    return with_results(change)
