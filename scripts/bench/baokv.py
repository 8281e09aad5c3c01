"""OpenBao's KV beside the vault: raft storage, TLS, an audit file, as an operator would run it."""

import http.client
import json
import os
import pathlib
import shutil
import ssl
import statistics
import subprocess
import threading
import time

from openbao import _free_port as free_port

CONFIG = """
storage "raft" {{ path = "{folder}/raft" node_id = "one" }}
listener "tcp" {{ address = "{address}" tls_cert_file = "{folder}/cert.pem" tls_key_file = "{folder}/key.pem" }}
api_addr = "https://{address}"
cluster_addr = "https://127.0.0.1:{cluster}"
disable_mlock = true
audit "file" "all" {{ options {{ file_path = "{folder}/audit.log" }} }}
"""


class Absent(Exception):
    """It is not installed."""


def program():
    return os.environ.get("ARTIFACTS_BAO") or shutil.which("bao")


class Server:
    """A running one with one secret for each client."""

    def __init__(self, folder, children):
        self.program = program()
        if not self.program:
            raise Absent("OpenBao: no program `bao` (`make bench` installs it), and none in ARTIFACTS_BAO")
        self.folder = pathlib.Path(folder) / "bao"
        (self.folder / "raft").mkdir(parents=True)
        port = free_port()
        self.address, self.token = f"127.0.0.1:{port}", None
        self._certificate()
        config = self.folder / "bao.hcl"
        config.write_text(CONFIG.format(folder=self.folder, address=self.address, cluster=free_port()))
        log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([self.program, "server", "-config", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        children.append(self.process)
        self._unseal()
        self._call("POST", "/v1/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})

    def measure(self, clients, seconds, size, reads):
        body = {"data": {"key": "k" * size}}
        for number in range(clients):
            self._retry("POST", f"/v1/secret/data/load-{number}", body)
        wrote, write_cpu = self._load(clients, seconds, "POST", body)
        read, read_cpu = self._load(clients, seconds, "GET", None)
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "BAO_ADDR": f"https://{self.address}",
               "BAO_CACERT": str(self.folder / "cert.pem"), "BAO_TOKEN": self.token}
        get = [self.program, "kv", "get", "-field=key", "-mount=secret", "load-0"]
        times = []
        for _ in range(reads):
            begun = time.perf_counter()
            said = subprocess.run(get, env=env, capture_output=True, text=True)
            times.append(1000 * (time.perf_counter() - begun))
            if said.stdout.strip() != "k" * size:
                raise RuntimeError(f"bao kv get: {said.stderr.strip()[-300:]}")
        return {"bao_get_rps": read / seconds, "bao_get_cpu": read_cpu, "bao_put_cpu": write_cpu, "bao_wall": statistics.median(times)}

    def _load(self, clients, seconds, method, body):
        """How many were answered, and the server's processor time for one in milliseconds. (The
        clients are threads of this program: their number each second is at most what it can send.)"""
        counts, errors = [0] * clients, []
        until = time.monotonic() + seconds

        def one(number):
            try:
                connection = self._connect()
                while time.monotonic() < until:
                    self._ask(connection, method, f"/v1/secret/data/load-{number}", body)
                    counts[number] += 1
            except (OSError, RuntimeError) as error:
                errors.append(error)

        begun = self._seconds()
        threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors or not sum(counts):
            raise RuntimeError(f"bao: {errors[:1]}")
        return sum(counts), 1000 * (self._seconds() - begun) / sum(counts)

    def _certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem"), "-subj", "/CN=bao",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)

    def _unseal(self):
        made = self._retry("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._call("PUT", "/v1/sys/unseal", {"key": made["keys"][0]})
        self.token = made["root_token"]
        deadline = time.monotonic() + 30
        while self._call("GET", "/v1/sys/health", accept=(200, 429, 503, 473)).get("standby", True):
            if time.monotonic() > deadline:
                raise RuntimeError("bao: no leader after 30 s")
            time.sleep(0.1)

    def _retry(self, method, path, body):
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._call(method, path, body)
            except (OSError, RuntimeError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _call(self, method, path, body=None, accept=(200, 204)):
        return self._ask(self._connect(), method, path, body, accept)

    def _connect(self):
        trust = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        return http.client.HTTPSConnection(self.address, timeout=30, context=trust)

    def _ask(self, connection, method, path, body=None, accept=(200, 204)):
        headers = {"X-Vault-Token": self.token} if self.token else {}
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in accept:
            raise RuntimeError(f"bao: {method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else {}

    def _seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
