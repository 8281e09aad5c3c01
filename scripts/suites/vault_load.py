"""The vault under load and in trouble: servers killed while many ask, a thousand who ask at once, a store that
is not ours.

vault_load.py LAB: LAB is a file that says where the programs are. Writes one line for each case to the file
in RESULT. `length` is short or long.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from vault_deployment import Deployment

LONG = os.environ["length"] == "long"
CLIENTS = 16
EMBEDDED_ROLE = "arn:aws:iam::000000000000:role/artifacts-vault"
# A worker goes on asking a signer that is away for twelve seconds.
WORKERS_PATIENCE = 12
MEMORY_MIB = 200


class Suite:
    def __init__(self, lab):
        self.lab, self.work, self.failed = lab, pathlib.Path(lab["work"]), 0
        self.helpers = []

    def run(self):
        try:
            self.report(self.every_role_is_put_up_by_its_own_commands)
            if not self.failed:
                for case in [
                    self.signer_killed_under_load_gives_no_wrong_answer,
                    self.signer_away_for_longer_is_said_and_nothing_else,
                    self.worker_killed_under_load_and_the_other_goes_on,
                    self.thousand_fetches_at_once_hold_the_worker_s_memory,
                    self.audits_are_whole_after_all_kills,
                ]:
                    self.report(case)
        finally:
            self.end()

    def report(self, case):
        name = "vault load: " + case.__name__.replace("_s_", "'s ").replace("_", " ")
        begun = time.monotonic()
        try:
            figures = case()
            line = f"pass {name} ({time.monotonic() - begun:.1f} s{'; ' + figures if figures else ''})"
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            line = f"fail {name}: {' '.join(str(error).split())[:500]}"
        print(line, file=sys.stderr)
        with open(os.environ["RESULT"], "a") as result:
            print(line, file=result)

    def end(self):
        if hasattr(self, "vault"):
            self.vault.end()
        for helper in reversed(self.helpers):
            helper.terminate()
            try:
                helper.wait(20)
            except subprocess.TimeoutExpired:
                helper.kill()
        self.helpers.clear()

    # What the cases are made of.

    def helper(self, name, command, env=None):
        """A process that says in a file that it is ready."""
        ready = self.work / f"{name}.json"
        with open(self.work / f"{name}.log", "ab") as log:
            child = subprocess.Popen([*map(str, command), "--ready-file", str(ready)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     env={**os.environ, **(env or {})})
        self.helpers.append(child)
        until = time.monotonic() + 60
        while not ready.exists():
            assert child.poll() is None and time.monotonic() < until, f"{name}: {(self.work / f'{name}.log').read_text()[-500:]}"
            time.sleep(0.02)
        return json.loads(ready.read_text())

    def load(self, what, workers, clients=CLIENTS, seconds=600.0, retry=()):
        """A load that runs until it is ended."""
        return Load([self.lab["load"], "worker", "--what", what, *(word for number in workers for word in ("--worker", self.vault.worker(number))),
                     "--broker", self.vault.broker, "--ca", self.vault.ca, "--session-file", self.session, "--devices", self.work / "devices",
                     "--device-count", CLIENTS, "--clients", clients, "--seconds", seconds, *(["--retry", ",".join(retry)] if retry else [])],
                    self.helpers)

    def new_session(self):
        """Another session of the same operator, for the load's clients."""
        token = self.vault.artifactsd("broker", "bootstrap", "--data", self.vault.folder / "broker").strip()
        asked = urllib.request.Request(self.vault.broker + "/v1/bootstrap", json.dumps({"token": token}).encode(),
                                       {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read())["access_token"]

    # The cases, each going on where the one before ended.

    def every_role_is_put_up_by_its_own_commands(self):
        self.vault = vault = Deployment(self.work / "vault", self.lab)
        vault.prepare()
        keys = {"ARTIFACTS_DEV_ACCESS_KEY_ID": "load-admin", "ARTIFACTS_DEV_SECRET_ACCESS_KEY": "load-admin-secret"}
        store = self.helper("store", [self.lab["artifactsd"], "dev", "--store-only", "--data", self.work / "store", "--listen", "127.0.0.1:0"], keys)
        vault.use_store({"endpoint": store["endpoint"], "access_key": "load-admin", "secret_key": "load-admin-secret", "kind": "embedded",
                         "role_arn": EMBEDDED_ROLE})
        steps = vault.provision("--apply")
        assert len(steps) == 5, steps
        took = {role: vault.start(role) for role in ("broker", "signer", "worker-1", "worker-2")}
        vault.log_in()
        vault.artifacts("scope", "set", *(f"load-{number}" for number in range(CLIENTS)))
        said = subprocess.run([self.lab["load"], "devices", "--folder", self.work / "devices", "--count", str(CLIENTS)], check=True,
                              capture_output=True, text=True).stdout
        # Each waits until the servers have heard of it.
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda device: vault.artifacts("device", "register", "--device", device), said.split()))
        self.session = self.work / "session"
        self.session.touch(0o600)
        self.session.write_text(self.new_session())
        return "ready after " + ", ".join(f"{role} {seconds:.1f} s" for role, seconds in took.items())

    def signer_killed_under_load_gives_no_wrong_answer(self):
        """Each client stores another credential each time and fetches it, through two workers in turn. The
        workers ask the signer again for as long as it takes to start one."""
        load, starts = self.load("both", (1, 2), retry=["signer_unavailable"]), []
        for _ in range(20 if LONG else 4):
            time.sleep(random.uniform(0.3, 1.5))
            self.vault.kill("signer")
            time.sleep(random.uniform(0, 0.5))
            starts.append(self.vault.start("signer"))
        time.sleep(3)
        found = load.end()
        assert set(found["retries"]) <= {"signer_unavailable"}, found
        assert found["quiet_seconds"] >= 2, f"after the last start not all succeeds: {found}"
        assert found["longest_ms"] >= 1000 * min(starts) / 2, f"no kill came in between: {found}"
        return f"{len(starts)} kills, ready again after {max(starts):.1f} s at most; {told(found)}"

    def signer_away_for_longer_is_said_and_nothing_else(self):
        load = self.load("both", (1, 2), retry=["signer_unavailable"])
        time.sleep(1)
        self.vault.kill("signer")
        time.sleep(WORKERS_PATIENCE + 3)
        self.vault.start("signer")
        time.sleep(3)
        found = load.end()
        assert found["retries"].keys() == {"signer_unavailable"}, f"the load did not see that exact refusal: {found}"
        assert found["quiet_seconds"] >= 2, found
        return told(found)

    def worker_killed_under_load_and_the_other_goes_on(self):
        load = self.load("both", (1, 2), retry=["unreachable"])
        for _ in range(10 if LONG else 2):
            time.sleep(random.uniform(0.5, 1.5))
            self.vault.kill("worker-2")
            alone = self.answered("worker-1")
            time.sleep(1)
            assert self.answered("worker-1") > alone, "the other worker does not go on"
            self.vault.start("worker-2")
            back = self.answered("worker-2")
            time.sleep(0.5)
            assert self.answered("worker-2") > back, "the worker is not asked again"
        time.sleep(2.5)
        found = load.end()
        assert found["retries"].keys() == {"unreachable"}, found
        assert found["quiet_seconds"] >= 2, found
        return told(found)

    def answered(self, worker):
        """How many requests are in its audit."""
        return (self.vault.folder / worker / "audit.jsonl").read_bytes().count(b"\n")

    def thousand_fetches_at_once_hold_the_worker_s_memory(self):
        """One process, begun for this, so that its highest mark is of nothing else."""
        self.vault.kill("worker-2")
        self.vault.start("worker-2")
        before = self.peak("worker-2")
        found = self.load("fetch", (2,), clients=1000, seconds=20.0 if LONG else 4.0).ended()
        assert found["count"] >= 1000 and not found["retries"], found
        peak = self.peak("worker-2")
        assert peak <= MEMORY_MIB, f"the worker held {peak:.0f} MiB"
        return f"at most {peak:.0f} MiB, {before:.0f} before; {told(found)}"

    def peak(self, role):
        for line in pathlib.Path(f"/proc/{self.vault.pid(role)}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"{role} is gone")

    def audits_are_whole_after_all_kills(self):
        for worker in ("worker-1", "worker-2"):
            self.vault.artifactsd("worker", "audit", self.vault.folder / worker / "audit.jsonl")
        self.vault.artifactsd("signer", "audit", "--data", self.vault.folder / "signer")
        self.vault.artifactsd("broker", "audit", "--data", self.vault.folder / "broker")


class Load:
    def __init__(self, command, helpers):
        self.child = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        helpers.append(self.child)

    def end(self):
        """What was found until now."""
        self.child.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        said, why = self.child.communicate(timeout=120)
        assert self.child.returncode == 0, f"the load ended with {self.child.returncode}: {why.strip()[-500:]}"
        return json.loads(said)


def told(found):
    retries = ", ".join(f"{count} × {reason}" for reason, count in found["retries"].items()) or "none"
    return (f"{found['count']:,} rounds, all right, {found['per_second']:.0f}/s, p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms, "
            f"longest {found['longest_ms']:,.0f} ms; asked again: {retries}")


if __name__ == "__main__":
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with open(sys.argv[1]) as file:
        suite = Suite(json.load(file))
    suite.run()
    sys.exit(1 if suite.failed else 0)
