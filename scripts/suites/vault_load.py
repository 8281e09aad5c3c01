"""The vault under load and in trouble: servers killed while many ask, a thousand who ask at once, a store that
is not ours, and what goes over the wire.

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
from concurrent.futures import ThreadPoolExecutor

from vault_deployment import Deployment, new_session
from vault_on_seaweedfs import OnSeaweedFs
from vault_suite import VaultSuite

LONG = os.environ["length"] == "long"
CLIENTS = 16
EMBEDDED_ROLE = "arn:aws:iam::000000000000:role/artifacts-vault"
# A worker goes on asking a signer that is away for twelve seconds.
WORKERS_PATIENCE = 12
CROWD, MEMORY_MIB = 1000, 200


class Suite(OnSeaweedFs, VaultSuite):
    topic = "vault load"

    def __init__(self, lab):
        super().__init__(lab)
        self.helpers, self.vaults, self.wire = [], [], None

    def run_all(self):
        try:
            if self.run([self.every_role_is_put_up_by_its_own_commands]) == 0:
                self.run([
                    self.traffic_is_recorded,
                    self.worker_on_seaweedfs_by_the_planned_role,
                    self.worker_s_keys_of_seaweedfs_open_one_actor_s_prefix,
                    self.no_key_and_no_secret_was_on_the_wire,
                    # Away while the next ones are looked at.
                    self.broker_dies_and_what_is_held_goes_on,
                    self.signer_killed_under_load_gives_no_wrong_answer,
                    self.signer_away_for_longer_is_said_and_nothing_else,
                    self.worker_killed_under_load_and_the_other_goes_on,
                    self.thousand_fetches_at_once_hold_the_worker_s_memory,
                    self.broker_is_back_and_what_ended_meanwhile_is_named,
                    self.revoked_while_the_broker_was_away_is_dropped_on_its_return,
                    *([self.broker_hangs_until_its_silence_is_noticed_and_is_heard_again] if LONG else []),
                    self.audits_are_whole_after_all_kills,
                ])
        finally:
            self.end()
        return 1 if self.failed else 0

    def vault_at(self, name):
        """The files of a vault whose roles do not run yet."""
        vault = Deployment(self.work / name, self.lab)
        self.vaults.append(vault)
        vault.prepare()
        return vault

    def end(self):
        if self.wire:
            self.wire.give_up()
        for vault in self.vaults:
            subprocess.run([self.lab["artifacts"], "daemon", "stop"], env=vault.env, capture_output=True, timeout=60)
            vault.end()
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
        return Load([self.lab["load"], "worker", "--what", what, *(word for number in workers for word in ("--worker", self.embedded.worker(number))),
                     "--broker", self.embedded.broker, "--ca", self.embedded.ca, "--sessions", self.sessions, "--devices", self.work / "devices",
                     "--device-count", CLIENTS, "--clients", clients, "--seconds", seconds, *(["--retry", ",".join(retry)] if retry else [])],
                    self.helpers)

    # The cases, each going on where the one before ended.

    def every_role_is_put_up_by_its_own_commands(self):
        self.embedded = vault = self.vault_at("embedded")
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
        self.sessions = self.work / "sessions"
        self.sessions.touch(0o600)
        self.sessions.write_text("".join(new_session(vault) + "\n" for _ in range(CLIENTS)))
        return "ready after " + ", ".join(f"{role} {seconds:.1f} s" for role, seconds in took.items())

    def signer_killed_under_load_gives_no_wrong_answer(self):
        """Each client stores another credential each time and fetches it, through two workers in turn. The
        workers ask the signer again for as long as it takes to start one."""
        load, starts = self.load("both", (1, 2), retry=["signer_unavailable"]), []
        for _ in range(20 if LONG else 4):
            time.sleep(random.uniform(0.3, 1.5))
            self.embedded.kill("signer")
            time.sleep(random.uniform(0, 0.5))
            starts.append(self.embedded.start("signer"))
        time.sleep(3)
        found = load.end()
        assert set(found["retries"]) <= {"signer_unavailable"}, found
        assert found["quiet_seconds"] >= 2, f"after the last start not all succeeds: {found}"
        assert found["longest_ms"] >= 1000 * min(starts) / 2, f"no kill came in between: {found}"
        return f"{len(starts)} kills, ready again after {max(starts):.1f} s at most; {told(found)}"

    def signer_away_for_longer_is_said_and_nothing_else(self):
        load = self.load("both", (1, 2), retry=["signer_unavailable"])
        time.sleep(1)
        self.embedded.kill("signer")
        time.sleep(WORKERS_PATIENCE + 3)
        self.embedded.start("signer")
        time.sleep(3)
        found = load.end()
        assert found["retries"].keys() == {"signer_unavailable"}, f"the load did not see that exact refusal: {found}"
        assert found["quiet_seconds"] >= 2, found
        return told(found)

    def worker_killed_under_load_and_the_other_goes_on(self):
        load = self.load("both", (1, 2), retry=["unreachable"])
        for _ in range(10 if LONG else 2):
            time.sleep(random.uniform(0.5, 1.5))
            self.embedded.kill("worker-2")
            alone = self.answered("worker-1")
            time.sleep(1)
            assert self.answered("worker-1") > alone, "the other worker does not go on"
            self.embedded.start("worker-2")
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
        return (self.embedded.folder / worker / "audit.jsonl").read_bytes().count(b"\n")

    def thousand_fetches_at_once_hold_the_worker_s_memory(self):
        """One process, begun for this, so that its highest mark is of nothing else."""
        if "worker-2" in self.embedded.running:
            self.embedded.kill("worker-2")
        self.embedded.start("worker-2")
        before = self.peak("worker-2")
        load = self.load("fetch", (2,), clients=CROWD, seconds=20.0 if LONG else 4.0)
        self.wait(lambda: self.connections("worker-2") >= CROWD, f"{CROWD} connections")
        found = load.ended()
        assert found["count"] >= CROWD and not found["retries"], found
        peak = self.peak("worker-2")
        assert peak <= MEMORY_MIB, f"the worker held {peak:.0f} MiB"
        return f"at most {peak:.0f} MiB, {before:.0f} before; {told(found)}"

    def connections(self, role):
        """As good as all that the process has open."""
        return len(os.listdir(f"/proc/{self.embedded.pid(role)}/fd"))

    def peak(self, role):
        for line in pathlib.Path(f"/proc/{self.embedded.pid(role)}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"{role} is gone")

    def audits_are_whole_after_all_kills(self):
        for vault, workers in ((self.embedded, ("worker-1", "worker-2")), (self.weed, ("worker-1",))):
            for worker in workers:
                vault.artifactsd("worker", "audit", vault.folder / worker / "audit.jsonl")
            vault.artifactsd("signer", "audit", "--data", vault.folder / "signer")
            vault.artifactsd("broker", "audit", "--data", vault.folder / "broker")


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
    sys.exit(Suite(sys.argv[1]).run_all())
