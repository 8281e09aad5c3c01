"""The vault under load: a worker that stores and fetches, what its signer costs, a secret read through
a warm daemon; beside the store alone, and beside OpenBao's KV with TLS and an audit file.

Everything is on one machine and on loopback. Figures of a round are taken one after the other."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import baokv
from service import Client, run, wait_for

# name: (what it is, unit, higher is better, goal or None)
METRICS = {
    "store_rps": ("stores through the worker, 16 clients, the registry on signed documents", "1/s", True, None),
    "store_p50": ("… half of them within", "ms", False, None),
    "store_p99": ("… 99 % of them within", "ms", False, None),
    "put_rps": ("raw PUT of the same objects, 16 clients", "1/s", True, None),
    "store_ratio": ("stores to raw PUTs", "×", True, 0.5),
    "fetch_rps": ("fetches through the worker, 16 clients, signed documents", "1/s", True, None),
    "fetch_p50": ("… half of them within", "ms", False, None),
    "fetch_p99": ("… 99 % of them within", "ms", False, None),
    "get_rps": ("raw GET of the same objects, 16 clients", "1/s", True, None),
    "fetch_ratio": ("fetches to raw GETs", "×", True, 0.5),
    "chain_store_ratio": ("stores to raw PUTs, the registry on a chain (anvil)", "×", True, 0.3),
    "chain_fetch_ratio": ("fetches to raw GETs, the registry on a chain", "×", True, 0.3),
    "worker_cpu": ("processor time of the worker for a fetch", "ms", False, 0.3),
    "signer_cpu": ("processor time of the signer for a derivation over warm mTLS", "ms", False, 0.2),
    "worker_memory": ("memory of the worker with 1,000 fetches at once", "MiB", False, 200),
    "read_wall": ("`artifacts secret read` through a warm daemon, the whole process", "ms", False, 15),
    "bao_get_rps": ("OpenBao 2.7, KV read over TLS with a file audit, 16 clients", "1/s", True, None),
    "bao_get_cpu": ("… processor time of the server for one", "ms", False, None),
    "bao_put_cpu": ("… and for a KV write", "ms", False, None),
    "bao_wall": ("`bao kv get`, the whole process", "ms", False, None),
    "envelope_us": ("sealing and opening an envelope of 1 KiB", "µs", False, 10),
}

CLIENTS = 16
SIZE = 64
# The envelope of SIZE bytes: 13 before the message; salt, commitment, tag.
SEALED = 13 + 24 + 32 + SIZE + 16
READS = 40


def measure(programs, rounds, seconds, log):
    """Figures by metric, each a list with one entry a round; and what could not be had."""
    found, failures = {}, []
    for registry in ("documents", "chain"):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="artifacts-bench-"))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            try:
                bench = Load(programs, folder, registry, seconds)
                stack.callback(bench.end)
                bench.start()
            except (RuntimeError, OSError) as error:
                failures.append(f"vault on {registry}: {error}")
                log(f"vault on {registry}: FAILED: {error}")
                continue
            names = ("worker", "read", "crowd", "envelope", "peer") if registry == "documents" else ("worker_on_chain",)
            for number in range(rounds):
                for name in names:
                    _attempt(bench, name, number, found, failures, log)
    return found, failures


def _attempt(bench, name, number, found, failures, log):
    label = f"vault, round {number + 1}, {name}"
    try:
        figures = getattr(bench, name)()
    except baokv.Absent as reason:
        failures.append(f"{label}: absent: {reason}")
        return
    except (RuntimeError, OSError, ValueError) as error:
        failures.append(f"{label}: {(str(error) or type(error).__name__).splitlines()[0][:300]}")
        log(f"{label}: FAILED: {error}")
        return
    for metric, value in figures.items():
        found.setdefault(metric, []).append(value)
    log(f"{label}: " + ", ".join(f"{metric} {value:.3f}" for metric, value in figures.items()))


class Load:
    """The whole vault on this machine, its first operator, and the measures."""

    def __init__(self, programs, folder, registry, seconds):
        self.programs, self.folder, self.registry, self.seconds = programs, folder, registry, seconds
        self.children, self.bao = [], None

    def start(self):
        self.access_key, self.secret_key = "bench-admin", secrets.token_urlsafe(24)
        home = self.folder / "home"
        (home / ".config/artifacts").mkdir(parents=True)
        (home / ".run").mkdir(mode=0o700)
        self.env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home / ".run")}
        more = self._contracts() if self.registry == "chain" else []
        self.ready = self._child("dev", [self.programs.artifactsd, "dev", "--data", self.folder / "data", "--listen", "127.0.0.1:0",
                                         *more], {
            "ARTIFACTS_DEV_ACCESS_KEY_ID": self.access_key, "ARTIFACTS_DEV_SECRET_ACCESS_KEY": self.secret_key,
        })
        self.vault = self.ready["vault"]
        shutil.copy(self.vault["client_config"], home / ".config/artifacts/config.toml")
        (home / ".config/artifacts/config.toml").chmod(0o600)
        token = pathlib.Path(self.vault["bootstrap_token_file"]).read_text()
        login = json.loads(self._artifacts("--format", "json", "vault", "login", "--bootstrap", input=token))
        {"documents": self._pin, "chain": self._assign}[self.registry](login["operator"])
        self._artifacts("device", "register", "--role", "master", "--scope", "bench")
        devices = run([self.programs.load, "devices", "--folder", self.folder / "devices", "--count", CLIENTS]).split()
        for device in devices:
            self._artifacts("device", "register", f"--device={device}")
        self._artifacts("scope", "set", *(f"load-{number}" for number in range(CLIENTS)))
        self.sessions = self.folder / "sessions"
        self.sessions.touch(0o600)
        self.sessions.write_text("\n".join(self._session() for _ in devices))

    def _contracts(self):
        """A chain with the contracts on it; what `artifactsd dev` and the operator's machine are told of it."""
        chain = self._child("anvil", [self.programs.testkit, "anvil"], {})
        self.wallet = chain["keys"][0]
        settings = self.folder / "registry.toml"
        settings.write_text(self._artifacts("registry", "deploy", "--rpc", chain["endpoint"], "--chain-id", chain["chain_id"],
                                            input=self.wallet + "\n"))
        return ["--chain-registry", settings]

    def _pin(self, operator):
        """Who runs the deployment pins the key that the operator's documents are signed with."""
        key = self.folder / "key.json"
        key.write_text(self._artifacts("registry", "key", "show"))
        run([self.programs.artifactsd, "registry", "pin", "--data", self.folder / "data/vault/registry", "--operator", operator, "--key", key])

    def _assign(self, operator):
        """Who owns the contracts says which wallet is the operator's: here, one wallet for both."""
        self._artifacts("registry", "key", "import", input=self.wallet)
        address = json.loads(self._artifacts("--format", "json", "registry", "key", "show"))["address"]
        self._artifacts("registry", "assign", operator, address)

    def _session(self):
        """Another session of the same operator, for one of the load's devices."""
        token = run([self.programs.artifactsd, "broker", "bootstrap", "--data", self.folder / "data/vault/broker"]).strip()
        client = Client(self.vault["broker"].partition("//")[2])
        return client.call("POST", "/v1/bootstrap", {"token": token})["access_token"]

    def worker(self):
        pids = self.vault["pids"]
        put = self._raw("put")
        store = self._through("store")
        get = self._raw("get")
        begun = [_seconds(pids[role]) for role in ("worker", "signer")]
        fetch = self._through("fetch")
        worker, signer = (
            1000 * (_seconds(pids[role]) - before) / fetch["count"] for role, before in zip(("worker", "signer"), begun))
        return {
            "store_rps": store["per_second"], "store_p50": store["p50_ms"], "store_p99": store["p99_ms"],
            "put_rps": put["per_second"], "store_ratio": store["per_second"] / put["per_second"],
            "fetch_rps": fetch["per_second"], "fetch_p50": fetch["p50_ms"], "fetch_p99": fetch["p99_ms"],
            "get_rps": get["per_second"], "fetch_ratio": fetch["per_second"] / get["per_second"],
            "worker_cpu": worker, "signer_cpu": signer,
        }

    def worker_on_chain(self):
        put, store, get, fetch = self._raw("put"), self._through("store"), self._raw("get"), self._through("fetch")
        return {
            "chain_store_ratio": store["per_second"] / put["per_second"],
            "chain_fetch_ratio": fetch["per_second"] / get["per_second"],
        }

    def read(self):
        """The daemon has the capability; what is measured is a process from start to end."""
        self._artifacts("daemon", "start")
        try:
            self._artifacts("secret", "store", "bench", "-", input="k" * SIZE)
            ask = lambda: self._artifacts("secret", "read", "bench")
            if ask() != "k" * SIZE:
                raise RuntimeError("another secret was read")
            return {"read_wall": statistics.median(_timed(ask) for _ in range(READS))}
        finally:
            self._artifacts("daemon", "stop")

    def crowd(self):
        """The most memory that the worker held while 1,000 asked at once."""
        pid = self.vault["pids"]["worker"]
        self._through("fetch", clients=1000, devices=CLIENTS)
        return {"worker_memory": _peak_mib(pid)}

    def envelope(self):
        said = run([self.programs.load, "envelope", "--size", 1024])
        return {"envelope_us": json.loads(said)["microseconds"]}

    def peer(self):
        if self.bao is None:
            self.bao = baokv.Server(self.folder, self.children)
        return self.bao.measure(CLIENTS, self.seconds, SIZE, READS)

    def _through(self, what, clients=CLIENTS, devices=CLIENTS):
        said = run([self.programs.load, "worker", "--what", what, "--worker", self.vault["worker"], "--broker", self.vault["broker"],
                    "--ca", self.vault["ca_file"], "--sessions", self.sessions, "--devices", self.folder / "devices",
                    "--device-count", devices, "--size", SIZE, "--clients", clients, "--seconds", self.seconds])
        return json.loads(said)

    def _raw(self, what):
        env = {**os.environ, "ARTIFACTS_S3_ACCESS_KEY_ID": self.access_key, "ARTIFACTS_S3_SECRET_ACCESS_KEY": self.secret_key}
        said = run([self.programs.load, "raw", "--what", what, "--endpoint", self.ready["endpoint"], "--bucket", self.vault["bucket"],
                    "--size", SEALED, "--clients", CLIENTS, "--seconds", self.seconds], env=env)
        return json.loads(said)

    def _artifacts(self, *words, input=None):
        done = subprocess.run([str(self.programs.artifacts), *map(str, words)], env=self.env, input=input, capture_output=True,
                              text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"artifacts {' '.join(map(str, words))}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _child(self, name, command, env):
        ready = self.folder / f"{name}.json"
        log = open(self.folder / f"{name}.log", "wb")
        child = subprocess.Popen([*map(str, command), "--ready-file", str(ready)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env={**os.environ, **env})
        self.children.append(child)
        wait_for(ready, child, name, limit=120)
        return json.loads(ready.read_text())

    def end(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=30)
            child.kill()


def closing_words(figures):
    """What the figures come to, in a sentence."""
    if not all(figures.get(name) for name in ("worker_cpu", "bao_get_cpu")):
        return "What a read costs OpenBao was not measured in this run."
    ours, theirs = (statistics.median(figures[name]) for name in ("worker_cpu", "bao_get_cpu"))
    return f"A fetch costs the worker {ours / theirs:.2f} of the processor time that OpenBao's KV read costs its server."


def versions():
    program = baokv.program()
    said = subprocess.run([program, "version"], capture_output=True, text=True).stdout if program else ""
    return re.sub(r"\s*\(.*", "", said.strip()) or "OpenBao absent"


def _seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the worker is gone")


def _timed(call):
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)
