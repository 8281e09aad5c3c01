"""The orchestrator under load: requests, keys, events, streams, a large database.

Everything is on one machine and on loopback: the load, the server, PostgreSQL and the store
share its processors. Figures of a round are taken one after the other, never at once."""

import concurrent.futures
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

import live
import openbao
import scale
from service import Followers, Service, run

# name: (what it is, unit, higher is better, goal or None)
METRICS = {
    "info_paced_rps": ("`GET /tenant/mount/info` with a session, 28 connections that rest for 10 ms after each answer", "1/s", True, 2000),
    "info_paced_p50": ("… half of them within", "ms", False, None),
    "info_paced_p99": ("… 99 % of them within", "ms", False, 20),
    "info_rps": ("… as fast as 16 connections can", "1/s", True, None),
    "info_p99": ("… 99 % of them within", "ms", False, None),
    "info_large_paced_rps": ("the same, paced, with service tokens of 10,000 tenants, of 100,000 with 1,000,000 keys", "1/s", True, 2000),
    "info_large_paced_p50": ("… half of them within", "ms", False, None),
    "info_large_paced_p99": ("… 99 % of them within", "ms", False, 20),
    "info_large_rps": ("… as fast as 16 connections can", "1/s", True, None),
    "list_large_p50": ("a tenant's list of keys in that database", "ms", False, None),
    "issue_p50": ("issuing a storage key, half of them within", "ms", False, None),
    "issue_p99": ("… 99 % of them within", "ms", False, None),
    "revoke_p50": ("revoking it, half of them within", "ms", False, None),
    "revoke_p99": ("… 99 % of them within", "ms", False, None),
    "keys_rps": ("issuing and revoking, 8 at a time", "keys/s", True, None),
    "changes_rps": ("making and ending a ticket, which asks no store, 8 at a time: each is a row of the audit's one chain", "changes/s", True, None),
    "issue_large_p50": ("issuing among 1,000,000 keys, half of them within", "ms", False, None),
    "fanout_p50": ("from announcing a change until a follower has it, of 200: half within", "ms", False, 100),
    "fanout_p99": ("… 99 % within", "ms", False, 500),
    "fanout_last_p50": ("… until the last of the 200 has it, half within", "ms", False, None),
    "live_stat_p50": ("from when a mount's file is in the bucket until another mount shows it to `stat`, half within", "ms", False, 100),
    "live_stat_p99": ("… 99 % within", "ms", False, 500),
    "live_inotify_p50": ("… until inotify names it there, half within", "ms", False, 100),
    "live_inotify_p99": ("… 99 % within", "ms", False, 500),
    "streams_memory": ("memory of the server with 5,000 idle streams", "MiB", False, 400),
    "streams_cpu": ("… share of one processor that they cost the server", "%", False, None),
    "streams_cpu_postgres": ("… and PostgreSQL", "%", False, None),
    "exec_start": ("`artifacts exec`: from start until the command runs in the mounted folder", "s", False, 1),
    "exec_ticket_start": ("… with a ticket, in a home where nothing was before", "s", False, 1),
    "bao_rps": ("OpenBao 2.7 on the same PostgreSQL: `lookup-self` with a token, 16 connections", "1/s", True, None),
    "bao_p99": ("… 99 % of them within", "ms", False, None),
    "bao_issue_p50": ("… making a token, half of them within", "ms", False, None),
    "bao_revoke_p50": ("… revoking it, half of them within", "ms", False, None),
}

# A person may let ten machines in within a minute.
TENANTS = 8
CONNECTIONS = 16
# 28 connections that each wait 10 ms before a request: 2,800 requests a second if they took no time.
PACED_CONNECTIONS, PAUSE_MS = 28, 10
FOLLOWERS = 200
ANNOUNCEMENTS = 100
STREAMS = 5_000
KEYS = 60


_STREAM_TOKENS = """
INSERT INTO service_tokens (id, tenant_id, hash, description, mode, purpose, created_by, created_at)
SELECT md5('{tenant}/' || n)::uuid, '{tenant}', sha256(convert_to('art_stream-{tenant}-' || n, 'UTF8')), 'bench', 'ro', 'mount', 'bench', n
FROM generate_series(1, {each}) n
ON CONFLICT DO NOTHING
"""


def measure(programs, rounds, seconds, log):
    """Figures by metric, each a list with one entry a round; and what could not be had."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="artifacts-bench-"))
    service = Service(programs.artifactsd, programs.testkit, folder)
    found, failures = {}, []
    try:
        service.start()
        bench = Load(service, programs.artifacts, seconds)
        for number in range(rounds):
            for name in ("info", "keys", "changes", "fanout", "live", "streams", "container", "peer"):
                _attempt(bench, name, number, found, failures, log)
        _attempt(bench, "large", 0, found, failures, log)
        for number in range(rounds):
            _attempt(bench, "info_large", number, found, failures, log)
        _attempt(bench, "whole_tables", 0, found, failures, log)
        bench.end()
    finally:
        service.end()
        shutil.rmtree(folder, ignore_errors=True)
    return found, failures


def _attempt(bench, name, number, found, failures, log):
    label = f"orchestrator, round {number + 1}, {name}"
    try:
        figures = getattr(bench, name)()
    except openbao.Absent as reason:
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
    """The measures, each a method that gives its figures."""

    def __init__(self, service, artifacts, seconds):
        self.service, self.artifacts, self.seconds = service, artifacts, seconds
        self.tenants = [service.tenant(f"load-{number}") for number in range(TENANTS)]
        self.workspaces = [
            service.client(session).call("POST", "/workspaces", {"name": "cases"})["workspace_id"]
            for _, session in self.tenants
        ]
        self.before_large = None
        self.peer_server = None
        self.mounts = 0

    def info(self):
        tokens = [session for _, session in self.tenants]
        return self._requests("info", tokens)

    def info_large(self):
        figures = self._requests("info_large", scale.tokens(10_000))
        owner = self.service.client(self.tenants[0][1])
        lists = [_timed(lambda: owner.call("GET", "/tenant/mount/credentials")) for _ in range(50)]
        issued, _ = self._issue_and_revoke(20)
        return {**figures, "list_large_p50": statistics.median(lists), "issue_large_p50": statistics.median(issued)}

    def _requests(self, name, tokens):
        url = f"{self.service.url}/tenant/mount/info"
        ask = lambda *pace: wrk(self.service.folder, url, "Authorization", "Bearer ", tokens, self.seconds, *pace)
        paced, full = ask(PACED_CONNECTIONS, PAUSE_MS), ask()
        return {
            f"{name}_paced_rps": paced["rps"], f"{name}_paced_p50": paced["p50_ms"], f"{name}_paced_p99": paced["p99_ms"],
            f"{name}_rps": full["rps"], f"{name}_p99": full["p99_ms"],
        }

    def keys(self):
        issued, revoked = self._issue_and_revoke(KEYS)
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(self._one_key, range(KEYS)))
        return {
            "issue_p50": statistics.median(issued), "issue_p99": _percentile(issued, 99),
            "revoke_p50": statistics.median(revoked), "revoke_p99": _percentile(revoked, 99),
            "keys_rps": KEYS / (time.monotonic() - begun),
        }

    def changes(self):
        each = 50
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: self._tickets(number, each), range(8)))
        return {"changes_rps": 2 * 8 * each / (time.monotonic() - begun)}

    def _tickets(self, number, count):
        (_, session), workspace = self.tenants[number], self.workspaces[number]
        client = self.service.client(session)
        for _ in range(count):
            ticket = client.call("POST", "/tickets", {"workspace_id": workspace, "mode": "ro", "ttl_seconds": 600})
            client.call("DELETE", f"/tickets/{ticket['ticket_id']}")

    def _issue_and_revoke(self, count):
        client = self.service.client(self.tenants[0][1])
        issued, revoked = [], []
        for _ in range(count):
            key = []
            issued.append(_timed(lambda: key.append(client.call("POST", "/tenant/mount/credentials"))))
            path = f"/tenant/mount/credentials/{key[0]['credential_id']}"
            revoked.append(_timed(lambda: client.call("DELETE", path)))
        return issued, revoked

    def _one_key(self, number):
        client = self.service.client(self.tenants[number % len(self.tenants)][1])
        key = client.call("POST", "/tenant/mount/credentials")
        client.call("DELETE", f"/tenant/mount/credentials/{key['credential_id']}")

    def fanout(self):
        session, workspace = self.tenants[0][1], self.workspaces[0]
        followers = Followers(self.service, [(workspace, session)] * FOLLOWERS)
        client, said = self.service.client(session), {}
        for number in range(ANNOUNCEMENTS):
            moment = time.monotonic_ns()
            body = {"workspace_id": workspace, "changed": [{"key": f"file-{number}"}]}
            said[str(client.call("POST", "/sync", body)["last_event_id"])] = moment
            time.sleep(0.05)
        time.sleep(1)
        arrivals = followers.end()["arrivals"]
        waits, last = [], []
        for event, moment in said.items():
            came = [(arrival - moment) / 1e6 for arrival in arrivals.get(event, [])]
            if len(came) != FOLLOWERS:
                raise RuntimeError(f"event {event} came to {len(came)} of {FOLLOWERS} followers")
            waits += came
            last.append(max(came))
        return {
            "fanout_p50": statistics.median(waits), "fanout_p99": _percentile(waits, 99),
            "fanout_last_p50": statistics.median(last),
        }

    def streams(self):
        """Each tenant follows its own workspace, each stream with a token of its own, which the
        server looks at again every 15 s. 30 s are two lines of each stream."""
        before = self.service.memory_mib()
        followers = Followers(self.service, self._streams())
        time.sleep(16)
        begun = self.service.processor_seconds()
        time.sleep(30)
        ended = self.service.processor_seconds()
        memory = self.service.memory_mib()
        seen = followers.end()
        if seen["ended"] or seen["beats"] < 2 * STREAMS:
            raise RuntimeError(f"{seen['ended']} streams ended, {seen['beats']} lines came")
        server, postgres = (100 * (b - a) / 30 for a, b in zip(begun, ended))
        return {
            "streams_memory": memory, "streams_before": before,
            "streams_cpu": server, "streams_cpu_postgres": postgres,
        }

    def _streams(self):
        each = STREAMS // len(self.tenants) + 1
        pairs = []
        for (tenant, _), workspace in zip(self.tenants, self.workspaces):
            pairs += [(workspace, f"art_stream-{tenant}-{number}") for number in range(1, each + 1)]
            self.service.sql(_STREAM_TOKENS.format(tenant=tenant, each=each))
        return pairs[:STREAMS]

    def container(self):
        """What the entry point of a container does before its command: the mount is there and
        answers when the command begins."""
        tenant = self.tenants[0]
        key = self.service.client(tenant[1]).call("POST", "/tenant/mount/credentials")
        self.mounts += 1
        home = self.service.folder / f"home-{self.mounts}"
        (home / "mnt").mkdir(parents=True)
        env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home),
            "ARTIFACTS_S3_ACCESS_KEY_ID": key["access_key"], "ARTIFACTS_S3_SECRET_ACCESS_KEY": key["secret_key"],
        }
        name = f"work-{self.mounts}"
        run([self.artifacts, "workspace", "create", name, "--bucket", key["bucket_name"], "--prefix", f"{name}/",
             "--endpoint", key["endpoint_url"]], env=env)
        begun = time.time_ns()
        said = run([self.artifacts, "exec", name, home / "mnt", "--", "date", "+%s%N"], env=env)
        self.service.client(tenant[1]).call("DELETE", f"/tenant/mount/credentials/{key['credential_id']}")
        return {"exec_start": (int(said) - begun) / 1e9, "exec_ticket_start": self._ticket_start(tenant[1])}

    def live(self):
        self.mounts += 1
        return live.measure(self.service, self.artifacts, self.tenants[1][1], self.mounts)

    def _ticket_start(self, session):
        """A sandbox: nothing is there but the program and the file of a ticket."""
        owner = live.Machine(self.artifacts, self.service, session, f"owner-{self.mounts}")
        name = f"sandbox-{self.mounts}"
        owner("workspace", "create", name)
        handle = self.service.client(session).call("GET", "/whoami")["handle"]
        home = self.service.folder / f"fresh-{self.mounts}"
        home.mkdir()
        owner("platform", "ticket", "create", name, "--for", "1h", "-o", home / "ticket")
        env = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home)}
        begun = time.time_ns()
        said = run([self.artifacts, "exec", f"{handle}/{name}", home / "mnt", "--ticket", home / "ticket", "--", "date", "+%s%N"], env=env)
        return (int(said) - begun) / 1e9

    def peer(self):
        if self.peer_server is None:
            self.peer_server = openbao.Server(self.service)
        return self.peer_server.measure(wrk, self.seconds, KEYS)

    def large(self):
        log_seconds = scale.fill(self.service)
        self.before_large = scale.reads_of_whole_tables(self.service)
        return {"fill_seconds": log_seconds}

    def whole_tables(self):
        after = scale.reads_of_whole_tables(self.service)
        grown = {name: after[name] - count for name, count in self.before_large.items() if after[name] != count}
        if grown:
            raise RuntimeError(f"large tables were read from end to end: {grown}")
        return {"whole_tables": 0}

    def end(self):
        if self.peer_server:
            self.peer_server.end()


def closing_words(figures):
    """What the plans came to, in a sentence."""
    if figures.get("whole_tables"):
        return (f"While that was measured with {scale.TENANTS:,} tenants and {scale.TENANTS * scale.KEYS_EACH:,} keys, "
                "PostgreSQL read none of these tables from end to end: " + ", ".join(scale.TABLES) + ".")
    return "Whether PostgreSQL read large tables from end to end was not measured."


def versions():
    words = {"wrk": ["wrk", "-v"], "PostgreSQL": ["psql", "--version"]}
    found = {name: subprocess.run(command, capture_output=True, text=True).stdout for name, command in words.items()}
    return "; ".join(f"{name}: {said.splitlines()[0].strip()}" for name, said in found.items() if said)


def wrk(folder, url, header, prefix, tokens, seconds, connections=CONNECTIONS, pause=0):
    """One run of wrk, after a second that does not count."""
    listed = folder / "tokens"
    listed.write_text("".join(f"{token}\n" for token in tokens))
    listed.chmod(0o600)
    host, path = url[:url.index("/", 8)], url[url.index("/", 8):]
    script = pathlib.Path(__file__).parent / "requests.lua"
    for length in (1, seconds):
        out = run(["wrk", "-t1", f"-c{connections}", f"-d{length}s", "-s", script, host,
                   "--", path, header, prefix, listed, pause])
    found = json.loads(out.strip().splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} requests failed")
    found["rps"] = found["requests"] / found["seconds"]
    return found


def _timed(call):
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


def _percentile(values, percent):
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
