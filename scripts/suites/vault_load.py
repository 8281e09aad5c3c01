"""The vault under load and in trouble: servers killed while many ask, a thousand who ask at once, a store that
is not ours, and what goes over the wire.

vault_load.py LAB: LAB is a file that says where the programs are. Writes one line for each case to the file
in RESULT. `length` is short or long.
"""

import base64
import json
import os
import pathlib
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import load_der_private_key

import vault as formats
from tokens import by, joined
from vault_deployment import BUCKET, Deployment
from wire import NotPermitted, Wire, forms

LONG = os.environ["length"] == "long"
CLIENTS = 16
# How long capabilities count before SeaweedFS, and how long before their end one is used again.
CAP_SECONDS, LATE = (300, 15) if LONG else (30, 5)
SEAWEEDFS_ROLE = "arn:aws:iam::role/artifacts-vault"
EMBEDDED_ROLE = "arn:aws:iam::000000000000:role/artifacts-vault"
# A worker goes on asking a signer that is away for twelve seconds.
WORKERS_PATIENCE = 12
MEMORY_MIB = 200


class Suite:
    def __init__(self, lab):
        self.lab, self.work, self.failed = lab, pathlib.Path(lab["work"]), 0
        self.helpers, self.vaults, self.wire = [], [], None

    def run(self):
        try:
            self.report(self.every_role_is_put_up_by_its_own_commands)
            if not self.failed:
                for case in [
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
                    self.audits_are_whole_after_all_kills,
                ]:
                    self.report(case)
        finally:
            self.end()

    def vault_at(self, name):
        """The files of a vault whose roles do not run yet."""
        vault = Deployment(self.work / name, self.lab)
        self.vaults.append(vault)
        vault.prepare()
        return vault

    def report(self, case):
        name = "vault load: " + case.__name__.replace("_s_", "'s ").replace("_", " ")
        begun = time.monotonic()
        try:
            figures = case()
            line = f"pass {name} ({time.monotonic() - begun:.1f} s{'; ' + figures if figures else ''})"
        except Skipped as reason:
            line = f"skip {name}: {reason}"
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            line = f"fail {name}: {' '.join(str(error).split())[:500]}"
        print(line, file=sys.stderr)
        with open(os.environ["RESULT"], "a") as result:
            print(line, file=result)

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
        return Load([self.lab["load"], "worker", "--what", what, *(word for number in workers for word in ("--worker", self.vault.worker(number))),
                     "--broker", self.vault.broker, "--ca", self.vault.ca, "--session-file", self.session, "--devices", self.work / "devices",
                     "--device-count", CLIENTS, "--clients", clients, "--seconds", seconds, *(["--retry", ",".join(retry)] if retry else [])],
                    self.helpers)

    # The cases, each going on where the one before ended.

    def every_role_is_put_up_by_its_own_commands(self):
        self.vault = vault = self.vault_at("vault")
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
        self.session.write_text(new_session(vault))
        return "ready after " + ", ".join(f"{role} {seconds:.1f} s" for role, seconds in took.items())

    def traffic_is_recorded(self):
        """From here on, until the case that looks into it."""
        try:
            self.wire = Wire(self.work / "wire")
        except NotPermitted as reason:
            raise Skipped(str(reason)) from None
        # Of the vault before the embedded store.
        self.load("both", (1, 2), seconds=1.0).ended()

    def worker_on_seaweedfs_by_the_planned_role(self):
        """What `vault provision` says, in the store's own file; then a worker with the store's own STS."""
        self.weed = vault = self.vault_at("weed")
        nowhere = {"endpoint": "http://127.0.0.1:1", "access_key": "", "secret_key": "", "kind": "seaweedfs", "role_arn": SEAWEEDFS_ROLE}
        vault.use_store(nowhere)
        iam = next(step["document"] for step in vault.provision("--plan") if step["step"] == "iam_json")
        iam["sts"] = {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
                      "signingKey": base64.b64encode(secrets.token_bytes(32)).decode()}
        file = self.work / "iam.json"
        file.write_text(json.dumps(iam))
        store = self.helper("seaweedfs", [self.lab["testkit"], "seaweedfs", "--iam", file])
        vault.use_store({**nowhere, "endpoint": store["endpoint"], "access_key": store["access_key_id"], "secret_key": store["secret_access_key"]})
        (vault.folder / "broker.toml").write_text(f"cap_seconds = {CAP_SECONDS}\n")
        for role in ("broker", "signer", "worker-1"):
            vault.start(role)
        vault.log_in()
        vault.provision("--apply")
        checks = vault.provision("--verify", words=("--iam-json", file))
        assert len(checks) > 80 and all(check["verdict"] != "failed" for check in checks), checks
        vault.artifacts("scope", "set", "openrouter", "github")
        vault.artifacts("daemon", "start")
        ways, values = ("s3", "http", "sidecar"), {}
        try:
            for stored in ways:
                values[stored] = f"sk-or-v1-{secrets.token_hex(16)}"
                self.weed_secret("store", "openrouter", "-", way=stored, input=values[stored])
                for way in ways:
                    found = self.weed_secret("read", "openrouter", way=way)
                    assert found == values[stored], f"stored by {stored}, read by {way}: {found}"
            self.secrets = list(values.values())
            self.weed_secret("store", "github", "-", way="http", input="ghp_0123")
            for way in ways:
                listed = json.loads(self.weed_secret("list", way=way, format="json"))
                names = [row["service"] for row in (listed["items"] if isinstance(listed, dict) else listed)]
                assert sorted(names) == ["github", "openrouter"], (way, names)
            admin = self.weed_client(store["access_key_id"], store["secret_access_key"])
            own = f"bots/{vault.operator}/credentials/"
            keys = [found["Key"] for found in admin.list_objects_v2(Bucket=BUCKET)["Contents"]]
            assert keys == [f"{own}github.enc", f"{own}openrouter.enc"], keys
            body = admin.get_object(Bucket=BUCKET, Key=keys[1])["Body"].read()
            assert body[0] == 0x10 and not any(value.encode() in body for value in self.secrets), "it is no envelope"
        finally:
            vault.artifacts("daemon", "stop")
        return f"{len(checks)} checks of the store passed; 9 reads, 3 lists"

    def weed_secret(self, *words, way, input="", format="table", code=0):
        return self.weed.artifacts("--format", format, "secret", *words, "--credential-backend", way, input=input, code=code)

    def daemon(self):
        return json.loads(self.weed.artifacts("--format", "json", "daemon", "status"))

    def weed_client(self, key, secret, token=None):
        return boto3.client("s3", endpoint_url=self.weed.store["endpoint"], region_name="us-east-1", aws_access_key_id=key,
                            aws_secret_access_key=secret, aws_session_token=token,
                            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def worker_s_keys_of_seaweedfs_open_one_actor_s_prefix(self):
        """The same requests as the worker makes: a capability, its certificate at the broker, the store's STS."""
        vault, device = self.weed, device_key(self.weed)
        cap = ask_broker(vault, device, "/v1/cap/cred-fetch", {"service": "openrouter"})["cap"]
        status, identity = ask(vault.internal_url("broker") + "/v1/worker/web-identity", {"cap": cap}, context=vault.mutual("worker-1"))
        assert status == 200, (status, identity)
        sts = boto3.client("sts", endpoint_url=vault.store["endpoint"], region_name="us-east-1", aws_access_key_id="", aws_secret_access_key="",
                           config=Config(signature_version=UNSIGNED, retries={"max_attempts": 1}))
        given = sts.assume_role_with_web_identity(RoleArn=SEAWEEDFS_ROLE, RoleSessionName="worker", WebIdentityToken=identity["token"],
                                                  DurationSeconds=900)["Credentials"]
        worker = self.weed_client(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        own, other = (f"bots/{actor}/credentials/" for actor in (vault.operator, "b" * 64))
        store = vault.store
        self.weed_client(store["access_key"], store["secret_key"]).put_object(Bucket=BUCKET, Key=other + "openrouter.enc", Body=b"another's")
        assert worker.get_object(Bucket=BUCKET, Key=own + "openrouter.enc")["Body"].read()[0] == 0x10
        worker.list_objects_v2(Bucket=BUCKET, Prefix=own)
        refused = [
            lambda: worker.get_object(Bucket=BUCKET, Key=other + "openrouter.enc"),
            lambda: worker.put_object(Bucket=BUCKET, Key=other + "openrouter.enc", Body=b"mine"),
            lambda: worker.delete_object(Bucket=BUCKET, Key=other + "openrouter.enc"),
            lambda: worker.list_objects_v2(Bucket=BUCKET, Prefix=other),
            lambda: worker.list_objects_v2(Bucket=BUCKET, Prefix="bots/"),
            lambda: worker.copy_object(Bucket=BUCKET, Key=own + "github.enc", CopySource={"Bucket": BUCKET, "Key": other + "openrouter.enc"}),
        ]
        for number, call in enumerate(refused):
            try:
                call()
            except ClientError as error:
                found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
                assert found == ("AccessDenied", 403), f"call {number}: {found}"
            else:
                raise AssertionError(f"call {number} was allowed in another actor's prefix")
        # All is gone after it, and the other's is still there.
        self.weed_secret("teardown", "--yes", way="http")
        admin = self.weed_client(store["access_key"], store["secret_key"])
        left = [found["Key"] for found in admin.list_objects_v2(Bucket=BUCKET, Prefix="bots/")["Contents"]]
        assert left == [other + "openrouter.enc"], left

    def no_key_and_no_secret_was_on_the_wire(self):
        """By bytes, hexadecimal and base64, in every place where that can begin. What travels in clear between
        programs of this machine, and a key that is sent on purpose, is found by the same search."""
        if not self.wire:
            raise Skipped("nothing was recorded")
        hidden = {}
        for name, vault in (("embedded", self.vault), ("SeaweedFS", self.weed)):
            hidden[f"the KEK before {name}"] = kek(vault)
            hidden[f"the signer's passphrase before {name}"] = vault.passphrase().read_text().strip().encode()
            hidden[f"the administrator's key of {name}"] = vault.store["secret_key"].encode()
        hidden |= {f"secret {number}": value.encode() for number, value in enumerate(self.secrets)}
        planted = secrets.token_bytes(32)
        send_in_two(planted.hex().encode())
        wire, self.wire = self.wire, None
        recording = wire.stop()
        assert recording.holds(planted.hex().encode()), "a key that was sent in two packets is not found"
        clear = [f"Credential={self.weed.store['access_key']}/".encode(), f"bots/{self.weed.operator}/credentials/openrouter.enc".encode(),
                 f"bots/{self.vault.operator}/credentials/load-0.enc".encode()]
        missing = set(clear) - recording.holds(*clear)
        assert not missing, f"the recording is not of everything: {missing}"
        for name, secret in hidden.items():
            assert not recording.holds(*forms(secret)), f"{name} was on the wire"
        return f"{recording.packets:,} packets, {recording.size() / 1024 / 1024:.1f} MiB in {len(recording.streams):,} streams, none lost"

    def broker_dies_and_what_is_held_goes_on(self):
        weed = self.weed
        weed.artifacts("scope", "set", "stripe")
        for service in ("openrouter", "github"):
            self.weed_secret("store", service, "-", way="http", input=f"the key of {service}")
        weed.artifacts("daemon", "start")
        # What it held before it heard from the broker would be dropped then.
        self.wait(lambda: self.daemon()["connected"], 5)
        asked = time.monotonic()
        for service in ("openrouter", "github"):
            self.weed_secret("read", service, way="sidecar")
        before = self.daemon()
        assert before["connected"] and before["capabilities"] == 2, before
        weed.kill("broker")
        self.away_since = time.monotonic()
        assert self.weed_secret("read", "openrouter", way="sidecar") == "the key of openrouter"
        said, took = self.refused_as_away("stripe")
        # Nobody asks until shortly before what is held ends.
        late = asked + CAP_SECONDS - 5 - LATE
        self.late = ThreadPoolExecutor(1).submit(lambda: time.sleep(late - time.monotonic()) or self.weed_secret("read", "github", way="sidecar"))
        return f"refused after {took:.2f} s: {said}"

    def refused_as_away(self, service):
        """What the daemon says of a service that it holds nothing for: who is away, and what next."""
        begun = time.monotonic()
        said = self.weed_secret("read", service, way="sidecar", code=7)
        took = time.monotonic() - begun
        assert took <= 5, f"it took {took:.1f} s to say: {said}"
        for words in (f"the broker {self.weed.broker} does not answer", "it was heard last", "no capability for this is held", "hint: ", "daemon status"):
            assert words in said, f"it does not say {words!r}: {said}"
        return " ".join(said.split()), took

    def broker_is_back_and_what_ended_meanwhile_is_named(self):
        away = 600 if LONG else CAP_SECONDS + 1
        time.sleep(max(0.0, self.away_since + away - time.monotonic()))
        assert self.late.result(0) == "the key of github", f"{LATE} s before its end"
        for service in ("openrouter", "github", "stripe"):
            said, _ = self.refused_as_away(service)
        status = self.daemon()
        assert not status["connected"] and status["capabilities"] == 0 and status["heard_seconds_ago"] >= away - 11, status
        self.weed.artifacts("scope", "revoke", "openrouter")
        away = time.monotonic() - self.away_since
        self.weed.start("broker")
        begun = time.monotonic()
        assert self.weed_secret("read", "github", way="sidecar") == "the key of github"
        denied = self.weed_secret("read", "openrouter", way="sidecar", code=4)
        took = time.monotonic() - begun
        assert took <= 1 and "scope_denied" in denied, (took, denied)
        self.wait(lambda: self.daemon()["connected"], 1)
        return f"away for {away:.0f} s; right again {took:.2f} s after it was back"

    def revoked_while_the_broker_was_away_is_dropped_on_its_return(self):
        """By the number of the event: what was not revoked is still held."""
        self.weed.artifacts("scope", "set", "openrouter")
        for service in ("openrouter", "github"):
            self.weed_secret("read", service, way="sidecar")
        before = self.daemon()
        assert before["connected"] and before["capabilities"] == 2, before
        self.weed.kill("broker")
        self.weed.artifacts("scope", "revoke", "openrouter")
        assert self.daemon()["capabilities"] == 2, "what is held goes on"
        self.weed.start("broker")
        begun = time.monotonic()
        assert self.weed_secret("read", "github", way="sidecar") == "the key of github"
        self.wait(lambda: self.daemon()["capabilities"] == 1, 5)
        took = time.monotonic() - begun
        after = self.daemon()
        assert took <= 1 and after["connected"], (took, after)
        assert int(after["last_event_id"]) > int(before["last_event_id"]), (before, after)
        assert "scope_denied" in self.weed_secret("read", "openrouter", way="sidecar", code=4)
        return f"dropped {took:.2f} s after the broker was back"

    def wait(self, so, seconds):
        until = time.monotonic() + seconds
        while not so():
            assert time.monotonic() < until, f"not within {seconds} s"
            time.sleep(0.02)

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
        for vault, workers in ((self.vault, ("worker-1", "worker-2")), (self.weed, ("worker-1",))):
            for worker in workers:
                vault.artifactsd("worker", "audit", vault.folder / worker / "audit.jsonl")
            vault.artifactsd("signer", "audit", "--data", vault.folder / "signer")
            vault.artifactsd("broker", "audit", "--data", vault.folder / "broker")


class Skipped(Exception):
    pass


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


def ask(url, body, headers=None, context=None):
    """Status and answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})
    try:
        answer = urllib.request.urlopen(request, timeout=30, context=context)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, json.loads(answer.read() or b"{}")


def new_session(vault):
    """Another session of the same operator, of no device."""
    token = vault.artifactsd("broker", "bootstrap", "--data", vault.folder / "broker").strip()
    status, answer = ask(vault.broker + "/v1/bootstrap", {"token": token})
    assert status == 200, (status, answer)
    return answer["access_token"]


def device_key(vault):
    """Of the operator's own machine."""
    return load_der_private_key((vault.folder / "home/.config/artifacts/vault/device").read_bytes(), None)


def ask_broker(vault, device, path, body):
    """As a device asks, with a session and a proof."""
    session, url = new_session(vault), vault.broker + path
    claims = {"htm": "POST", "htu": url, "iat": int(time.time()), "jti": secrets.token_hex(16), "ath": formats.digest(session.encode()),
              "bdh": formats.digest(json.dumps(body).encode())}
    proof = joined({"alg": "ES256", "typ": "cap-proof+jwt", "jwk": formats.jwk(device)}, claims, by(device))
    status, answer = ask(url, body, {"authorization": f"Bearer {session}", "artifacts-proof": proof})
    assert status == 200, (status, answer)
    return answer


def kek(vault):
    """Of the operator's own credentials, as a worker gets it."""
    body = {"operator": vault.operator, "actor": vault.operator, "epoch": 1}
    status, answer = ask(vault.internal_url("signer") + "/v1/derive-cred-kek", body, context=vault.mutual("worker-1"))
    assert status == 200, (status, answer.keys())
    return base64.b64decode(answer["kek"])


def send_in_two(text):
    """Over the loopback, so that no packet has all of it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(text[: len(text) // 2])
        client.sendall(text[len(text) // 2 :])
        client.shutdown(socket.SHUT_WR)
        with server.accept()[0] as taken:
            while taken.recv(4096):
                pass


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
