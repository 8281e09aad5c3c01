"""The whole vault from outside: by its command line, by boto3, and by a second implementation of its
formats, which also plays whoever got hold of the keys of one part.

whole_vault.py LAB: LAB is a file that says where everything is. Writes one line for each case to the
file in RESULT.
"""

import base64
import json
import os
import pathlib
import random
import re
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import vault
from vault_suite import VaultSuite

KEY = "sk-or-v1-" + secrets.token_hex(16)


class Suite(VaultSuite):
    def cases(self):
        return [
            self.operator_logs_in_and_registers,
            self.three_ways_read_what_the_others_stored,
            self.second_implementation_opens_the_blob,
            self.keys_are_where_they_may_be_only,
            self.command_gets_the_secret_and_nobody_else,
            self.broker_s_keys_open_no_service_out_of_scope,
            self.broker_s_keys_and_another_device_open_nothing,
            self.worker_s_certificate_gets_no_storage_keys,
            self.other_certificates_get_no_key,
            self.bucket_s_owner_swaps_changes_and_rolls_back_in_vain,
            self.agent_reads_what_it_may_and_nothing_else,
            self.revoked_scope_leaves_the_daemon_within_a_second,
            self.daemon_serves_what_counts_while_the_broker_is_away,
            self.sealed_anew_in_the_next_epoch_though_killed,
            self.revoked_laptop_gets_nothing,
            self.audits_are_whole,
            self.teardown_leaves_nothing,
        ]

    # The cases, each going on where the one before ended.

    def operator_logs_in_and_registers(self):
        self.config.mkdir(parents=True, exist_ok=True)
        (self.config / "config.toml").touch(0o600)
        (self.config / "config.toml").write_text(pathlib.Path(self.vault["client_config"]).read_text())
        token = (self.folder / "bootstrap-token").read_text()
        login = json.loads(self.artifacts("--format", "json", "vault", "login", "--bootstrap", input=token))
        self.operator = login["operator"]
        key = self.artifacts("registry", "key", "show")
        self.artifactsd("registry", "pin", "--data", self.folder / "registry", "--operator", self.operator, "--key", "-", input=key)
        self.artifacts("device", "register", "--role", "master", "--scope", "openrouter,github")
        again = self.artifacts("--format", "json", "vault", "login", "--bootstrap", input=token, code=3)
        assert "hint" in json.loads(again)["error"], again

    def three_ways_read_what_the_others_stored(self):
        self.artifacts("daemon", "start")
        ways = ("s3", "http", "sidecar")
        for stored in ways:
            self.store("openrouter", f"{KEY}-{stored}", stored)
            for way in ways:
                assert self.read("openrouter", way) == f"{KEY}-{stored}", (stored, way)
        listed = [key["Key"] for key in self.s3.list_objects_v2(Bucket=self.vault["bucket"])["Contents"]]
        assert listed == [self.blob("openrouter")], listed
        # One name, however it is typed.
        assert self.read("OpenRouter", "sidecar") == f"{KEY}-sidecar"

    def second_implementation_opens_the_blob(self):
        self.store("openrouter", KEY, "sidecar")
        assert self.opened("openrouter") == KEY.encode()
        assert KEY.encode() not in self.get(self.blob("openrouter"))

    def keys_are_where_they_may_be_only(self):
        """The KEK in the signer and the worker alone, and not even there for long; the secret nowhere
        for long. Every other process's memory is searched, and all files."""
        kek = self.kek()
        self.read("openrouter", "sidecar")
        forms = (kek, kek.hex().encode(), base64.b64encode(kek), base64.urlsafe_b64encode(kek).rstrip(b"="))
        daemon = json.loads(self.artifacts("--format", "json", "daemon", "status"))["pid"]
        here = {"broker": self.vault["pids"]["broker"], "store": self.ready["pid"], "daemon": daemon}
        # The search finds what is there: the store's own access key.
        assert self.holds(here["store"], self.lab["access_key"].encode()), "the search finds nothing at all"
        for role, pid in here.items():
            assert not self.holds(pid, *forms), f"the KEK is in the {role}"
        for role in ("broker", "store"):
            assert not self.holds(here[role], KEY.encode(), base64.b64encode(KEY.encode())), f"the secret was in the {role}"
        for file in self.work.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.name not in ("case.log",):
                data = file.read_bytes()
                assert not any(form in data for form in (*forms, KEY.encode())), f"{file} holds a key in the open"

    def command_gets_the_secret_and_nobody_else(self):
        seen = self.artifacts("run", "--env", "OPENROUTER_API_KEY=openrouter", "--", "sh", "-c",
                              'printf %s "$OPENROUTER_API_KEY"; tr "\\0" " " </proc/$$/cmdline >&2')
        assert seen == KEY, seen
        marker = self.work / "started"
        self.artifacts("run", "--env", "A=openrouter", "--env", "B=github", "--", "touch", str(marker), code=5)
        assert not marker.exists(), "the command was started though a secret was missing"

    def broker_s_keys_open_no_service_out_of_scope(self):
        """The cap is the broker's and the device is registered: the worker looks for itself."""
        device = self.device_key()
        status, answer = self.fetch(self.forged_cap("openrouter", device), "openrouter", device)
        assert (status, base64.b64decode(answer["plaintext"])) == (200, KEY.encode()), "what the broker may sign is taken"
        status, answer = self.fetch(self.forged_cap("stripe", device), "stripe", device)
        assert (status, answer["reason"]) == (403, "scope_denied"), (status, answer)

    def broker_s_keys_and_another_device_open_nothing(self):
        from cryptography.hazmat.primitives.asymmetric import ec
        own, stranger = self.device_key(), ec.generate_private_key(ec.SECP256R1())
        for cap, device, reason in [
            (self.forged_cap("openrouter", stranger), stranger, "device_unknown"),
            (self.forged_cap("openrouter", own), stranger, "proof_invalid"),
            (self.forged_cap("openrouter", own, epoch=2), own, "epoch_mismatch"),
            (self.forged_cap("openrouter", own, sub="0" * 64), own, "device_binding_mismatch"),
            (self.forged_cap("openrouter", own, key=stranger), own, "cap_signature_invalid"),
            (self.forged_cap("openrouter", own, exp=int(time.time()) - 10), own, "cap_expired"),
        ]:
            status, answer = self.fetch(cap, "openrouter", device)
            assert (status, answer["reason"]) == (403, reason), (reason, status, answer)

    def worker_s_certificate_gets_no_storage_keys(self):
        """It gets keys of the signer; without a cap of the broker's it gets no way to an envelope."""
        mutual = self.mutual("worker")
        body = json.dumps({"operator": self.operator, "actor": self.operator, "epoch": 1}).encode()
        status, answer = self.ask(self.internal("signer") + "/v1/derive-cred-kek", body, context=mutual)
        assert status == 200 and base64.b64decode(answer["kek"]) == self.kek(), (status, answer.keys())
        from cryptography.hazmat.primitives.asymmetric import ec
        own = self.device_key()
        forged = self.forged_cap("openrouter", own, key=ec.generate_private_key(ec.SECP256R1()))
        status, answer = self.ask(self.internal("broker") + "/v1/worker/web-identity", json.dumps({"cap": forged}).encode(), context=mutual)
        assert status in (401, 403) and "cap_signature_invalid" in json.dumps(answer), (status, answer)

    def other_certificates_get_no_key(self):
        body = json.dumps({"operator": self.operator, "actor": self.operator, "epoch": 1}).encode()
        status, answer = self.ask(self.internal("signer") + "/v1/derive-cred-kek", body, context=self.mutual("broker"))
        assert status == 403 and "kek" not in answer, (status, answer)
        try:
            self.ask(self.internal("signer") + "/v1/derive-cred-kek", body)
        except (ssl.SSLError, urllib.error.URLError, ConnectionError) as refused:
            # The alert, or the end of the connection where it came before the alert was read.
            said = str(refused).lower()
            assert any(word in said for word in ("certificate required", "alert", "eof occurred", "reset by peer")), refused
        else:
            raise AssertionError("somebody without a certificate was answered")

    def bucket_s_owner_swaps_changes_and_rolls_back_in_vain(self):
        self.store("github", "ghp_one")
        older = self.get(self.blob("github"))
        self.store("github", "ghp_two")
        newer, other = self.get(self.blob("github")), self.get(self.blob("openrouter"))
        flipped = lambda at: bytes(byte ^ (at == index) for index, byte in enumerate(newer))
        for body, reason, code in [
            (other, "envelope_invalid", 1), (newer[:-1], "envelope_invalid", 1), (newer[:40], "envelope_malformed", 1),
            (b"\x7f" + newer[1:], "envelope_version", 1), (flipped(20), "envelope_invalid", 1),
            (flipped(len(newer) - 1), "envelope_invalid", 1), (older, "envelope_rollback", 6),
        ]:
            self.put(self.blob("github"), body)
            for way in ("http", "s3", "sidecar"):
                said = self.artifacts("--format", "json", "secret", "read", "github", "--credential-backend", way, code=code)
                assert reason in said, (way, reason, said)
        self.put(self.blob("github"), newer)
        assert self.read("github", "http") == "ghp_two"

    def agent_reads_what_it_may_and_nothing_else(self):
        """A second machine with a home of its own, paired by a code."""
        home = {f"XDG_{name}_HOME": str(self.work / "agent" / name.lower()) for name in ("CONFIG", "CACHE", "STATE", "DATA")}
        config = pathlib.Path(home["XDG_CONFIG_HOME"]) / "artifacts"
        config.mkdir(parents=True)
        (config / "config.toml").touch(0o600)
        (config / "config.toml").write_text(pathlib.Path(self.vault["client_config"]).read_text())
        self.agent_home = {**home, "ARTIFACTS_DAEMON_SOCKET": str(self.work / "agent.sock")}
        log = open(self.work / "pair.log", "w+")
        pairing = subprocess.Popen([self.lab["artifacts"], "agent", "pair", "--label", "builder"], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, env={**os.environ, **self.agent_home})
        code, fingerprint = self.wait(lambda: self.shown_in(self.work / "pair.log"), "the code")
        # The broker could name another machine: the operator compares what the agent's machine shows.
        self.artifacts("agent", "approve", code, "--device", "0000-0000-0000-0000", "--yes", code=1)
        self.artifacts("agent", "approve", code, "--device", fingerprint, "--yes")
        assert pairing.wait(60) == 0, (self.work / "pair.log").read_text()
        self.artifacts("scope", "set", "agentkey", "--actor", "builder")
        ask = lambda *words, **named: self.artifacts(*words, "--credential-backend", "http", env=self.agent_home, **named)
        self.wait(lambda: not self.tried(self.agent_home, "secret", "store", "agentkey", "-"), "the scope")
        ask("secret", "store", "agentkey", "-", input="for the agent")
        assert ask("secret", "read", "agentkey") == "for the agent"
        assert "scope_denied" in ask("secret", "read", "openrouter", code=4)
        self.artifacts("scope", "set", "agentkey", "--actor", "builder", "--read-only")
        self.wait(lambda: "scope_read_only" in self.tried(self.agent_home, "secret", "store", "agentkey", "-"), "the refusal to store")
        # What was tried before it counted was stored.
        assert ask("secret", "read", "agentkey") in ("for the agent", "x")

    def shown_in(self, file):
        """Code and fingerprint, as the agent's machine shows them."""
        found = re.search(r"agent approve (\S+) --device (\S+)", file.read_text())
        return found and found.groups()

    def revoked_scope_leaves_the_daemon_within_a_second(self):
        self.read("github", "sidecar")
        assert self.caps_held() > 0, "the daemon holds nothing"
        held = self.caps_held()
        self.artifacts("scope", "revoke", "github")
        begun = time.monotonic()
        self.wait(lambda: self.caps_held() < held, "the drop", 5)
        took = time.monotonic() - begun
        assert took <= 1, f"the capability was dropped after {took:.2f} s"
        # What the registry's readers know is half a second old at most.
        time.sleep(1)
        assert "scope_denied" in self.read("github", "sidecar", code=4)
        self.artifacts("scope", "set", "github")

    def daemon_serves_what_counts_while_the_broker_is_away(self):
        self.wait(lambda: "ghp_two" in self.try_read("github"), "the scope's return")
        broker = self.vault["pids"]["broker"]
        os.kill(broker, signal.SIGSTOP)
        try:
            assert self.read("github", "sidecar") == "ghp_two", "what is held counts"
            self.refused_soon("openrouter2")
        finally:
            os.kill(broker, signal.SIGCONT)
        self.wait(lambda: "ghp_two" in self.try_read("github"), "the broker's return")

    def try_read(self, service):
        done = subprocess.run([self.lab["artifacts"], "secret", "read", service, "--credential-backend", "sidecar"], capture_output=True,
                              text=True, timeout=60)
        return done.stdout

    def refused_soon(self, service):
        """What no capability is held for is refused as temporary, by a daemon whose broker hangs."""
        begun = time.monotonic()
        said = self.read(service, "sidecar", code=7)
        took = time.monotonic() - begun
        assert took <= 5, f"it took {took:.1f} s: {said}"
        assert f"the broker {self.vault['broker']} does not answer" in said and "hint: see whether the broker runs" in said, said

    def sealed_anew_in_the_next_epoch_though_killed(self):
        """The signer's and the registry's epoch go on; re-sealing is killed at random moments, and each
        secret is readable at every moment."""
        count, wanted, spread = (600, 4, 8) if os.environ["length"] == "short" else (10_000, 40, 160)
        services = [f"service-{number}" for number in range(count)]
        # Re-sealing needs no scope, but a worker does: those that are read meanwhile have one. A document has no
        # room for all of them.
        sampled = services[:: max(1, count // 200)]
        self.artifacts("scope", "set", *sampled)
        kek, begun = self.kek(), time.monotonic()

        def seed(service):
            place = {"operator": self.operator, "actor": self.operator, "service": service}
            self.put(self.blob(service), vault.seal(kek, place, 1, 1, service.encode(), os.urandom(24)))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(seed, services))
        print(f"    {count} envelopes were made in {time.monotonic() - begun:.1f} s", file=sys.stderr)
        self.begin_epoch()
        self.wait(lambda: self.try_read("openrouter") == KEY, "reading an older epoch", 10)
        kills, seen, begun = 0, [], time.monotonic()
        readers = ThreadPoolExecutor(1)
        ended = threading.Event()
        reading = readers.submit(self.read_on, sampled, ended)
        between = lambda: any(0 < share < 1 for share in seen)
        while kills < wanted or not between():
            rekey = subprocess.Popen([self.lab["artifacts"], "vault", "rekey"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            try:
                # As often between 0.05 and 0.1 s as between 2 and 4 s.
                rekey.wait(0.05 * spread ** random.random())
                break
            except subprocess.TimeoutExpired:
                rekey.kill()
                rekey.wait()
                kills += 1
                seen.append(sum(self.epoch_of(service) == 2 for service in sampled) / len(sampled))
        killed = time.monotonic() - begun
        assert between(), f"no kill came in between: {seen}"
        self.artifacts("vault", "rekey")
        took = time.monotonic() - begun - killed
        ended.set()
        print(f"    meanwhile {reading.result(60)} were read, each right", file=sys.stderr)
        print(f"    killed {kills} times in {killed:.1f} s, with {', '.join(f'{share:.0%}' for share in seen)} of them sealed anew; "
              f"the last run ended by itself after {took:.1f} s", file=sys.stderr)
        begun = time.monotonic()
        self.artifacts("vault", "rekey")
        print(f"    a run that finds nothing to do takes {time.monotonic() - begun:.1f} s", file=sys.stderr)

        def is_new(service):
            assert self.epoch_of(service) == 2, f"{service} is of the older epoch"

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(is_new, [*services, "openrouter"]))
        place = {"operator": self.operator, "actor": self.operator, "service": services[0]}
        assert vault.open_envelope(self.kek(2), place, self.get(self.blob(services[0]))) == services[0].encode()
        assert self.read("openrouter", "s3") == KEY
        if os.environ["length"] == "long":
            self.begin_epoch()
            self.wait(lambda: self.try_read("openrouter") == KEY, "reading an older epoch", 10)
            begun = time.monotonic()
            done = json.loads(self.artifacts("--format", "json", "vault", "rekey"))
            print(f"    undisturbed, {done} took {time.monotonic() - begun:.1f} s", file=sys.stderr)

    def read_on(self, services, ended):
        """One service after the other, until told to end; how many."""
        count = 0
        while not ended.is_set():
            service = random.choice(services)
            found = self.read(service, "http")
            assert found == service, f"{service} read as {found}"
            count += 1
        return count

    def begin_epoch(self):
        words = ["--data", self.folder / "signer", "--passphrase-file", self.folder / "signer/passphrase"]
        self.artifactsd("signer", "epoch", "advance", *words)
        os.kill(self.vault["pids"]["signer"], signal.SIGHUP)
        time.sleep(1)
        self.artifactsd("registry", "advance", "--data", self.folder / "registry")

    def epoch_of(self, service):
        return int.from_bytes(self.get(self.blob(service))[1:5], "big")

    def revoked_laptop_gets_nothing(self):
        """The agent's machine, with its key, its login and all of its files."""
        devices = json.loads(self.artifacts("--format", "json", "device", "list"))
        rows = devices["items"] if isinstance(devices, dict) else devices
        agents = [row["device"] for row in rows if row["actor"] != self.operator and not row["revoked"]]
        self.artifacts("device", "revoke", agents[0])
        self.wait(lambda: "device_revoked" in self.tried(self.agent_home, "secret", "read", "agentkey"), "the refusal", 5)

    def audits_are_whole(self):
        self.artifactsd("worker", "audit", self.folder / "worker/audit.jsonl")
        self.artifactsd("signer", "audit", "--data", self.folder / "signer")
        self.artifactsd("broker", "audit", "--data", self.folder / "broker")
        text = (self.folder / "worker/audit.jsonl").read_text()
        for reason in ("scope_denied", "device_unknown", "proof_invalid", "epoch_mismatch", "envelope_rollback"):
            assert f'"{reason}"' in text, f"{reason} is not in the audit"
        assert KEY not in text and "sk-or" not in text

    def teardown_leaves_nothing(self):
        self.artifacts("secret", "teardown", "--yes", "--credential-backend", "sidecar")
        self.artifacts("secret", "teardown", "--agent", "builder", "--yes", "--credential-backend", "sidecar")
        left = self.s3.list_objects_v2(Bucket=self.vault["bucket"], Prefix="bots/").get("KeyCount")
        assert left == 0, f"{left} objects are left"
        self.artifacts("daemon", "stop")


if __name__ == "__main__":
    suite = Suite(sys.argv[1])
    suite.attach()
    sys.exit(suite.run(suite.cases()))
