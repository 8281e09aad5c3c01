"""A worker before SeaweedFS, a store that is not ours, with all that goes over the wire; and a daemon there
whose broker goes away. Cases of vault_load.py.
"""

import base64
import json
import os
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError

from vault_deployment import BUCKET, ask, ask_broker, device_key, kek
from vault_suite import Skipped
from wire import NotPermitted, Wire, forms, send_in_two

LONG = os.environ["length"] == "long"
# How long capabilities count here, and how long before their end one is used again.
CAP_SECONDS, LATE = (300, 15) if LONG else (30, 5)
ROLE = "arn:aws:iam::role/artifacts-vault"


class OnSeaweedFs:
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
        nowhere = {"endpoint": "http://127.0.0.1:1", "access_key": "", "secret_key": "", "kind": "seaweedfs", "role_arn": ROLE}
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
        given = sts.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="worker", WebIdentityToken=identity["token"],
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
        for name, vault in (("embedded", self.embedded), ("SeaweedFS", self.weed)):
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
                 f"bots/{self.embedded.operator}/credentials/load-0.enc".encode()]
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
        self.wait(lambda: self.daemon()["connected"], "the broker's stream", 5)
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
        self.wait(lambda: self.daemon()["connected"], "the broker's stream", 1)
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
        self.wait(lambda: self.daemon()["capabilities"] == 1, "the drop", 5)
        took = time.monotonic() - begun
        after = self.daemon()
        assert took <= 1 and after["connected"], (took, after)
        assert int(after["last_event_id"]) > int(before["last_event_id"]), (before, after)
        assert "scope_denied" in self.weed_secret("read", "openrouter", way="sidecar", code=4)
        return f"dropped {took:.2f} s after the broker was back"

    def broker_hangs_until_its_silence_is_noticed_and_is_heard_again(self):
        """Its connections stay, and nothing comes: only its silence tells."""
        self.weed_secret("read", "github", way="sidecar")
        self.wait(lambda: self.daemon()["connected"], "the broker's stream", 10)
        os.kill(self.weed.pid("broker"), signal.SIGSTOP)
        try:
            self.refused_as_away("stripe")
            self.wait(lambda: not self.daemon()["connected"], "the end of patience", 60)
            assert self.weed_secret("read", "github", way="sidecar") == "the key of github"
        finally:
            os.kill(self.weed.pid("broker"), signal.SIGCONT)
        begun = time.monotonic()
        self.wait(lambda: self.daemon()["connected"], "the broker's stream", 5)
        return f"heard again after {time.monotonic() - begun:.2f} s"
