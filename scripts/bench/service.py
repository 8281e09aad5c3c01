"""An orchestrator as operators run it (PostgreSQL, a store that makes keys, the server), on
loopback, for the benchmark to load."""

import contextlib
import http.client
import json
import os
import pathlib
import resource
import secrets
import signal
import subprocess
import time
import urllib.parse

# Not what is measured: a tenant's limits are far above what one tenant does.
CONFIG = """keys_per_minute = 1000000
announcements_per_minute = 1000000
streams_per_tenant = 10000
logins_per_minute = 1000000
"""

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Service:
    """The three servers and the first operator."""

    def __init__(self, artifactsd, testkit, folder):
        self.artifactsd, self.testkit, self.folder = artifactsd, testkit, folder
        self.children = []

    def start(self):
        _allow_many_files()
        postgres = self.child("postgres", [self.testkit, "postgres"])
        self.database, self.postgres_group = postgres["url"], postgres["group"]
        self.access_key, self.secret_key = "bench-admin", secrets.token_urlsafe(24)
        store = self.child("store", [self.artifactsd, "dev", "--store-only", "--data", self.folder / "store", "--listen", "127.0.0.1:0"], {
            "ARTIFACTS_DEV_ACCESS_KEY_ID": self.access_key,
            "ARTIFACTS_DEV_SECRET_ACCESS_KEY": self.secret_key,
        })
        self.store = store["endpoint"]
        (self.folder / "config.toml").write_text(CONFIG)
        ready = self.child("orchestrator", [
            self.artifactsd, "orchestrator", "--listen", "127.0.0.1:0", "--config", self.folder / "config.toml",
            "--signing-key", self.folder / "session-key.pem", "--provider", "embedded", "--endpoint", self.store,
        ], {
            "ARTIFACTS_ORCHESTRATOR_DATABASE": self.database,
            "ARTIFACTS_PROVIDER_ACCESS_KEY_ID": self.access_key,
            "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY": self.secret_key,
        })
        self.url, self.pid = ready["endpoint"], ready["pid"]
        self.address = urllib.parse.urlsplit(self.url).netloc
        self.operator = self._first_operator()

    def child(self, name, command, env=None):
        """Starts a server that says in a file when it is ready."""
        ready = self.folder / f"{name}.json"
        log = open(self.folder / f"{name}.log", "wb")
        child = subprocess.Popen([*map(str, command), "--ready-file", str(ready)], stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, env={**os.environ, **(env or {})})
        self.children.append(child)
        wait_for(ready, child, name)
        return json.loads(ready.read_text())

    def _first_operator(self):
        env = {**os.environ, "ARTIFACTS_ORCHESTRATOR_DATABASE": self.database}
        token = run([self.artifactsd, "orchestrator", "bootstrap"], env=env).strip()
        return Client(self.address).call("POST", "/bootstrap", {"token": token})["access_token"]

    def client(self, session=None):
        return Client(self.address, session or self.operator)

    def tenant(self, handle):
        """A tenant with a bucket, and the session of a machine in it: (id, token)."""
        client = self.client()
        me = client.call("GET", "/whoami")["identity"]["actor"]
        tenant = client.call("POST", "/tenants", {"handle": handle, "owner": {"actor": me}})["tenant_id"]
        return tenant, self.session(tenant)

    def session(self, tenant):
        client = self.client()
        asked = client.form("/oauth/device_authorization", {"client_id": "artifacts", "machine": "bench"})
        client.call("POST", "/device/approve", {"user_code": asked["user_code"], "tenant_id": tenant})
        wanted = {"grant_type": DEVICE_GRANT, "client_id": "artifacts", "device_code": asked["device_code"]}
        return client.form("/oauth/token", wanted)["access_token"]

    def sql(self, statement):
        return run(["psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", statement, self.database], timeout=900).strip()

    def memory_mib(self):
        """What the server holds of the machine's memory."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the server is gone")

    def processor_seconds(self):
        """Of the server, and of PostgreSQL with all of its processes."""
        return _seconds([self.pid]), _seconds(_family(self.postgres_group))

    def end(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=20)
            child.kill()


class Client:
    """Requests that follow each other on one connection."""

    def __init__(self, address, session=None):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        self.session = session

    def call(self, method, path, body=None):
        return self._send(method, path, body and json.dumps(body), "application/json")

    def form(self, path, fields):
        return self._send("POST", path, urllib.parse.urlencode(fields), "application/x-www-form-urlencoded")

    def _send(self, method, path, body, kind):
        headers = {"Content-Type": kind}
        if self.session:
            headers["Authorization"] = f"Bearer {self.session}"
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text.startswith(b"{") else None


class Followers:
    """Streams of events, all open, in a process of their own."""

    def __init__(self, service, streams):
        """`streams`: pairs of a workspace and a session."""
        listed, self.ready = service.folder / "streams", service.folder / "followers.json"
        listed.write_text("".join(f"/workspaces/{workspace}/events {session}\n" for workspace, session in streams))
        listed.chmod(0o600)
        self.ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [service.testkit, "followers", "--to", service.address, "--streams", listed, "--ready-file", self.ready],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        wait_for(self.ready, self.process, "followers", limit=120)

    def end(self):
        """What they saw."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return json.loads(out)


def wait_for(file, child, name, limit=60):
    deadline = time.monotonic() + limit
    while not file.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not come up; its log is {file.with_suffix('.log')}")
        time.sleep(0.02)


def run(command, timeout=120, **options):
    """Runs a program; its own words are the error."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout, **options)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-800:]
        raise RuntimeError(f"{os.path.basename(str(command[0]))}: exit {done.returncode}: {words}")
    return done.stdout


def _family(pid):
    """A process and all that it started: PostgreSQL's have groups of their own."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def _seconds(pids):
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _allow_many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
