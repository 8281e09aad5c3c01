"""The whole vault with its registry on a real chain, looked at through the worker's process: what is
granted, revoked and advanced there, and what becomes of an RPC that is ill.

vault_chain.py LAB: LAB is a file that says where everything is. Writes one line for each case to the
file in RESULT.
"""

import base64
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import ec

import ill_rpc
import vault
from ill_rpc import IllRpc
from vault_suite import VaultSuite

KEY = "sk-or-v1-" + secrets.token_hex(16)
UNAVAILABLE = (502, "registry_unavailable")
#: What was revoked is refused so soon after its transaction.
PROMISE = 2.0
#: A contract's word for "in scope, and not for reading only".
IN_SCOPE = "0x" + "1".zfill(64) + "0" * 64


class Suite(VaultSuite):
    topic = "chain"

    def __init__(self, lab):
        super().__init__(lab)
        chain = json.loads((self.work / "anvil.json").read_text())
        self.chain, self.chain_id = chain["endpoint"], chain["chain_id"]
        self.owner_key, self.operator_key, self.other_key = chain["keys"]
        self.owner = self.home("owner")
        self.rpcs = [IllRpc(self.chain), IllRpc(self.chain)]
        self.rpc, self.dev, self.epoch = self.rpcs[0], None, 1
        self.listen = "127.0.0.1:0"

    def cases(self):
        return [
            self.rpc_of_another_chain_lets_no_vault_start,
            self.vault_starts_on_contracts,
            self.operator_logs_in_with_the_wallet_and_nowhere_else,
            self.grant_opens_what_it_names,
            self.revoked_scope_is_refused_within_two_seconds,
            self.revoked_device_is_refused_within_two_seconds,
            self.older_epoch_is_refused_within_two_seconds,
            self.daemon_hears_what_the_chain_alone_is_told,
            self.dead_rpc_opens_nothing,
            self.hanging_rpc_opens_nothing,
            self.rpc_that_becomes_another_chain_opens_nothing,
            self.older_block_brings_no_revoked_scope_back,
            self.other_contracts_open_nothing,
            self.nonsense_opens_nothing,
            self.flaky_rpc_is_asked_again,
            self.second_rpc_takes_over,
            self.lie_of_one_of_two_opens_nothing,
            self.what_is_cut_off_an_anchored_audit_shows,
            self.revoked_laptop_gets_nothing,
            self.audit_tells_all_of_it,
        ]

    # What the cases are made of.

    def home(self, name):
        """The environment of another machine."""
        folder = self.work / name
        return {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CONFIG", "CACHE", "STATE", "DATA")}

    def configure(self, config, text):
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.toml").touch(0o600)
        (config / "config.toml").write_text(text)

    def registry_file(self, name, rpcs):
        """What was deployed, with these RPCs in place of the real one."""
        path = self.work / name
        path.write_text(self.deployed.replace(json.dumps(self.chain), ", ".join(json.dumps(rpc.endpoint) for rpc in rpcs)))
        return path

    def start_dev(self, registry):
        ready, log = self.work / "dev.json", open(self.work / "dev.log", "a")
        ready.unlink(missing_ok=True)
        root = {"ARTIFACTS_DEV_ACCESS_KEY_ID": self.lab["access_key"], "ARTIFACTS_DEV_SECRET_ACCESS_KEY": self.lab["secret_key"]}
        words = ["dev", "--data", self.work / "dev", "--listen", self.listen, "--ready-file", ready, "--chain-registry", registry]
        self.dev = subprocess.Popen([self.lab["artifactsd"], *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env={**os.environ, **root})
        self.wait(lambda: ready.exists() or self.dev.poll() is not None, "the vault's start", 60)
        if self.dev.poll() is None:
            self.attach()
            # A free one could be a role's by chance: theirs are kept from start to start.
            self.listen = urllib.parse.urlsplit(self.ready["endpoint"]).netloc
            return None
        # Nobody was told of these.
        (self.work / "dev/vault/ports.json").unlink(missing_ok=True)
        return (self.work / "dev.log").read_text()[-2000:]

    def stop_dev(self):
        if self.dev and self.dev.poll() is None:
            self.dev.send_signal(signal.SIGTERM)
            self.dev.wait(60)

    def block(self):
        return int(ill_rpc.call(self.chain, "eth_blockNumber"), 16)

    def newest(self):
        return ill_rpc.call(self.chain, "eth_getBlockByNumber", "latest", False)

    def mine(self):
        ill_rpc.call(self.chain, "anvil_mine", "0x1")

    def contract(self, name):
        return next(line.split('"')[1] for line in self.deployed.splitlines() if line.startswith(name + " ="))

    def outcome(self, service="openrouter", device=None, epoch=None):
        """What the worker's process says: 200 and the value, or why not. The capability is signed by the broker's
        own key, so that only the worker's look at the chain decides."""
        device = device or self.device_key()
        status, answer = self.fetch(self.forged_cap(service, device, epoch=epoch or self.epoch), service, device)
        return status, base64.b64decode(answer["plaintext"]).decode() if status == 200 else answer["reason"]

    def when_mined(self):
        """A list that has the moment of the next block, once it is there."""
        before, mined = self.block(), []

        def watch():
            while self.block() == before:
                time.sleep(0.005)
            mined.append(time.monotonic())

        threading.Thread(target=watch, daemon=True).start()
        return mined

    def refused_after(self, reason, *words, env=None, **asked):
        """Seconds between the block of a command's transaction and the first refusal. The worker is asked all the
        time, and answers nothing that is asked two seconds after the block."""
        mined = self.when_mined()
        command = subprocess.Popen([self.lab["artifacts"], *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, **(env or {})})
        while True:
            begun = time.monotonic()
            status, said = self.outcome(**asked)
            if status != 200:
                break
            assert said == KEY, said
            assert not mined or begun - mined[0] <= PROMISE, f"answered {begun - mined[0]:.2f} s after the block"
            assert command.poll() in (None, 0), command.stderr.read()
        ended = time.monotonic()
        assert (status, said) == (403, reason), (status, said)
        assert command.wait(30) == 0, command.stderr.read()
        self.wait(lambda: mined, "the block")
        for _ in range(5):
            assert self.outcome(**asked) == (403, reason)
        return max(0.0, ended - mined[0])

    def opens_nothing(self, illness, rpcs=None, value=KEY, right=(), refusals=3, **asked):
        """With this illness, only what was known before it is answered, for two seconds at most, and all else is
        refused because the registry cannot be asked. `right` are answers that are true as well. Seconds of the
        longest fetch."""
        rpcs = rpcs or [self.rpc]
        for rpc in rpcs:
            rpc.fall_ill(illness) if illness else rpc.die()
        # What was answered of one block is not asked again.
        self.mine()
        fell_ill, refused, longest, asked_then = time.monotonic(), 0, 0, False
        # A failure counts for a moment without asking again: one refusal at least is of this illness.
        while refused < refusals or (illness and not asked_then):
            begun, before = time.monotonic(), sum(rpc.asked for rpc in rpcs)
            outcome = self.outcome(**asked)
            longest = max(longest, time.monotonic() - begun)
            assert time.monotonic() - fell_ill < 20, f"{outcome} after 20 s"
            if outcome == UNAVAILABLE:
                refused += 1
                asked_then |= sum(rpc.asked for rpc in rpcs) > before
            elif outcome not in right:
                assert outcome == (200, value), outcome
                assert begun - fell_ill <= PROMISE, f"answered {begun - fell_ill:.2f} s after the RPC fell ill"
        return longest

    def heals(self, wanted=(200, KEY), **asked):
        for rpc in self.rpcs:
            rpc.heal()
        until = time.monotonic() + 5
        while (outcome := self.outcome(**asked)) != wanted:
            assert outcome == UNAVAILABLE, outcome
            assert time.monotonic() < until, "it is healthy, and still not believed"
            time.sleep(0.05)

    def recover(self):
        for rpc in self.rpcs:
            rpc.heal()
        if not self.tried({}, "secret", "list"):
            self.artifacts("scope", "set", "openrouter")

    # The cases, each going on where the one before ended.

    def rpc_of_another_chain_lets_no_vault_start(self):
        self.deployed = self.artifacts("registry", "deploy", "--rpc", self.chain, "--chain-id", str(self.chain_id), input=self.owner_key,
                                       env=self.owner)
        self.rpc.fall_ill(ill_rpc.of_chain(1))
        said = self.start_dev(self.registry_file("registry.toml", [self.rpc]))
        self.rpc.heal()
        assert said and f"{self.rpc.endpoint} is of chain 1, not {self.chain_id}" in said, said

    def vault_starts_on_contracts(self):
        said = self.start_dev(self.registry_file("registry.toml", [self.rpc]))
        assert said is None, said
        self.client = pathlib.Path(self.vault["client_config"]).read_text().replace(self.rpc.endpoint, self.chain)
        assert "kind = \"chain\"" in self.client and self.chain in self.client, self.client

    def operator_logs_in_with_the_wallet_and_nowhere_else(self):
        self.configure(self.config, self.client)
        assert "registry key import" in self.artifacts("vault", "login", "--wallet", code=2)
        self.artifacts("registry", "key", "import", input=self.operator_key)
        own = json.loads(self.artifacts("--format", "json", "registry", "key", "show"))
        # The same broker under another name is not the one that the wallet's message is for.
        elsewhere = self.vault["broker"].replace("127.0.0.1", "localhost")
        assert "wants a login at" in self.artifacts("vault", "login", "--wallet", elsewhere, code=1)
        self.configure(self.config, self.client.replace(f"chain_id = {self.chain_id}", "chain_id = 1"))
        assert "takes no wallet of chain 1," in self.artifacts("vault", "login", "--wallet", code=1)
        self.configure(self.config, self.client)
        login = json.loads(self.artifacts("--format", "json", "vault", "login", "--wallet"))
        self.operator = login["operator"]
        assert login["actor"] == self.operator == own["actor"], (login, own)

    def grant_opens_what_it_names(self):
        self.artifacts("device", "register", "--role", "master")
        assert "scope_denied" in self.artifacts("secret", "store", "openrouter", "-", "--credential-backend", "http", input=KEY, code=4)
        self.artifacts("scope", "set", "openrouter")
        self.store("openrouter", KEY)
        for way in ("http", "s3"):
            assert self.read("openrouter", way) == KEY, way
        assert self.outcome() == (200, KEY) and self.outcome("github") == (403, "scope_denied")
        assert self.opened("openrouter") == KEY.encode()

    def revoked_scope_is_refused_within_two_seconds(self):
        seconds = self.refused_after("scope_denied", "scope", "revoke", "openrouter")
        assert "scope_denied" in self.read("openrouter", "http", code=4)
        self.artifacts("scope", "set", "openrouter")
        assert self.outcome() == (200, KEY)
        return f"refused {seconds:.2f} s after the block"

    def revoked_device_is_refused_within_two_seconds(self):
        device = ec.generate_private_key(ec.SECP256R1())
        thumbprint = vault.thumbprint(vault.jwk(device))
        assert self.outcome(device=device) == (403, "device_unknown")
        self.artifacts("device", "register", "--device", thumbprint)
        assert self.outcome(device=device) == (200, KEY)
        seconds = self.refused_after("device_revoked", "device", "revoke", thumbprint, device=device)
        assert self.outcome() == (200, KEY)
        return f"refused {seconds:.2f} s after the block"

    def older_epoch_is_refused_within_two_seconds(self):
        self.artifacts("registry", "epoch", "advance", code=4)
        words = ["--data", self.folder / "signer", "--passphrase-file", self.folder / "signer/passphrase"]
        self.artifactsd("signer", "epoch", "advance", *words)
        os.kill(self.vault["pids"]["signer"], signal.SIGHUP)
        time.sleep(1)
        assert self.outcome(epoch=2) == (403, "epoch_mismatch")
        self.configure(pathlib.Path(self.owner["XDG_CONFIG_HOME"]) / "artifacts", self.deployed)
        self.artifacts("registry", "key", "import", input=self.owner_key, env=self.owner)
        seconds = self.refused_after("epoch_mismatch", "registry", "epoch", "advance", env=self.owner)
        self.epoch = 2
        # What was sealed in the older epoch opens, until it is sealed anew.
        assert self.outcome() == (200, KEY) and self.read("openrouter", "http") == KEY
        self.artifacts("vault", "rekey")
        assert vault.open_envelope(self.kek(2), {"operator": self.operator, "actor": self.operator, "service": "openrouter"},
                                   self.get(self.blob("openrouter"))) == KEY.encode()
        assert self.outcome() == (200, KEY)
        return f"refused {seconds:.2f} s after the block"

    def daemon_hears_what_the_chain_alone_is_told(self):
        """From another machine of the operator's, which knows no broker to tell."""
        elsewhere = self.home("elsewhere")
        self.configure(pathlib.Path(elsewhere["XDG_CONFIG_HOME"]) / "artifacts", self.deployed)
        self.artifacts("registry", "key", "import", input=self.operator_key, env=elsewhere)
        self.artifacts("daemon", "start")
        assert self.read("openrouter", "sidecar") == KEY and self.caps_held() == 1
        mined = self.when_mined()
        self.artifacts("scope", "revoke", "openrouter", env=elsewhere)
        self.wait(lambda: mined and self.caps_held() == 0, "the drop", 5)
        seconds = time.monotonic() - mined[0]
        assert seconds <= PROMISE, f"the capability was dropped {seconds:.2f} s after the block"
        assert "scope_denied" in self.read("openrouter", "sidecar", code=4)
        self.artifacts("daemon", "stop")
        self.artifacts("scope", "set", "openrouter")
        assert self.outcome() == (200, KEY)
        return f"dropped {seconds:.2f} s after the block"

    def dead_rpc_opens_nothing(self):
        self.opens_nothing(None)
        # Neither by the command line, whose broker cannot ask either.
        assert "registry_unavailable" in self.read("openrouter", "http", code=7)
        self.heals()
        self.wait(lambda: not self.tried({}, "secret", "read", "openrouter"), "the broker's trust", 5)
        assert self.read("openrouter", "http") == KEY

    def hanging_rpc_opens_nothing(self):
        took = self.opens_nothing(ill_rpc.hangs)
        assert took < 4, f"a fetch waited {took:.1f} s"
        self.heals()
        return f"refused after {took:.1f} s"

    def rpc_that_becomes_another_chain_opens_nothing(self):
        self.opens_nothing(ill_rpc.of_chain(1))
        self.heals()

    def older_block_brings_no_revoked_scope_back(self):
        allowed = self.newest()
        self.artifacts("scope", "revoke", "openrouter")
        self.wait(lambda: self.outcome() == (403, "scope_denied"), "the refusal", PROMISE)
        assert int(self.newest()["number"], 16) > int(allowed["number"], 16)
        self.opens_nothing(ill_rpc.keeps_back(allowed), value="never", right=[(403, "scope_denied")])
        self.heals((403, "scope_denied"))
        self.artifacts("scope", "set", "openrouter")
        assert self.outcome() == (200, KEY)

    def other_contracts_open_nothing(self):
        devices, scopes, epochs = map(self.contract, ("device_registry", "scope_contract", "epoch_counter"))
        nobody = "0x" + "11" * 20
        for wanted, other in [(scopes, epochs), (devices, scopes), (epochs, devices), (scopes, nobody), (devices, nobody), (epochs, nobody)]:
            self.opens_nothing(ill_rpc.calls_instead(wanted, other))
        self.heals()

    def nonsense_opens_nothing(self):
        scopes = self.contract("scope_contract")
        cut = lambda rpc, calls: json.dumps(ill_rpc.ask(rpc.chain, calls)).encode()[:-9]
        other = lambda rpc, calls: [{**answer, "id": answer["id"] + 1} for answer in ill_rpc.ask(rpc.chain, calls)]
        fewer = lambda rpc, calls: ill_rpc.ask(rpc.chain, calls)[:-1]
        refused = lambda rpc, calls: [{"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32005, "message": "limit"}} for call in calls]
        says, newest_is = ill_rpc.says, ill_rpc.newest_is
        nonsense = [
            b"<html>Welcome</html>", b"[" * 100_000, cut, other, fewer, (500, b"down"),
            newest_is(lambda block: {**block, "hash": "0x" + "ab" * 32}), newest_is(lambda block: None),
            says(scopes, "0x"), says(scopes, "0x" + "2".zfill(64) + "0" * 64), says(scopes, IN_SCOPE[:-2]), says(scopes, IN_SCOPE + "00"),
            says(scopes, None), says(self.contract("epoch_counter"), "0x" + "0" * 64),
        ]
        if os.environ["length"] == "long":
            nonsense += [b"", b"[]", b"null", refused, (429, b"slow down"), newest_is(lambda block: {**block, "number": "five"})]
        for said in nonsense:
            self.opens_nothing(said if callable(said) else lambda rpc, calls, said=said: said, refusals=1)
        self.heals()

    def flaky_rpc_is_asked_again(self):
        """100 services that were not asked for before, so that each fetch has to ask."""
        services, kek = [f"flaky-{number}" for number in range(100)], self.kek(2)
        self.artifacts("scope", "set", *services)
        for service in services:
            place = {"operator": self.operator, "actor": self.operator, "service": service}
            self.put(self.blob(service), vault.seal(kek, place, 2, 1, service.encode(), os.urandom(24)))
        seed = secrets.randbits(32)
        self.rpc.fall_ill(ill_rpc.flaky(12, seed))
        done = 0
        for number, service in enumerate(services):
            if number % 5 == 0:
                self.mine()
                assert self.outcome(f"denied-{number}") in [(403, "scope_denied"), UNAVAILABLE], f"seed {seed}"
            outcome = self.outcome(service)
            assert outcome in [(200, service), UNAVAILABLE], f"{service}: {outcome}, seed {seed}"
            done += outcome[0] == 200
        asked, dropped = self.rpc.asked, self.rpc.dropped
        self.heals()
        assert asked >= 100 and 0.04 < dropped / asked < 0.25, f"{dropped} of {asked} requests were dropped, seed {seed}"
        assert done >= 95, f"{done} of 100, seed {seed}"
        return f"{done} of 100 fetches, {dropped} of {asked} requests dropped"

    def second_rpc_takes_over(self):
        self.stop_dev()
        said = self.start_dev(self.registry_file("two.toml", self.rpcs))
        assert said is None, said
        assert self.outcome() == (200, KEY)
        ills = [(0, None), (1, ill_rpc.of_chain(1)), (0, ill_rpc.hangs)]
        if os.environ["length"] == "long":
            ills += [(1, None), (0, ill_rpc.of_chain(1)), (1, ill_rpc.hangs)]
        for ill, illness in ills:
            self.rpcs[ill].fall_ill(illness) if illness else self.rpcs[ill].die()
            asked = self.rpcs[1 - ill].asked
            self.mine()
            # A newest block counts no longer.
            time.sleep(1.05)
            assert self.outcome() == (200, KEY), (ill, illness)
            assert self.rpcs[1 - ill].asked > asked, "nobody was asked"
            self.heals()
        self.opens_nothing(None, self.rpcs)
        self.heals()

    def lie_of_one_of_two_opens_nothing(self):
        scopes, revoked = self.contract("scope_contract"), (403, "scope_denied")
        held_back = self.newest()
        self.artifacts("scope", "revoke", "openrouter")
        # Half a minute is what one may lag behind the other.
        ill_rpc.call(self.chain, "evm_increaseTime", 60)
        self.wait(lambda: self.outcome() == revoked, "the refusal", PROMISE)
        for first in (0,) if os.environ["length"] == "short" else (0, 1):
            self.is_asked_first(first, revoked)
            for liar in (0, 1):
                self.opens_nothing(ill_rpc.says(scopes, IN_SCOPE), [self.rpcs[liar]], value="never", right=[revoked])
                self.heals(revoked)
            # An older block than one that was seen is not believed; the other is asked.
            self.rpcs[first].fall_ill(ill_rpc.keeps_back(held_back))
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                assert (outcome := self.outcome()) in (revoked, UNAVAILABLE), outcome
            assert self.rpcs[first].asked > 0
            self.heals(revoked)
        self.artifacts("scope", "set", "openrouter")
        assert self.outcome() == (200, KEY)

    def is_asked_first(self, place, outcome):
        """The one that answered last is, and the other is compared with it five seconds after its own failure."""
        self.rpcs[1 - place].die()
        self.mine()
        time.sleep(1.05)
        assert self.outcome() == outcome
        self.rpcs[1 - place].heal()
        time.sleep(5)

    def what_is_cut_off_an_anchored_audit_shows(self):
        """By the worker's own file, which is written all the time."""
        file, copy = self.folder / "worker/audit.jsonl", self.work / "copy.jsonl"
        look = lambda code: self.artifacts("vault", "audit", str(copy), "--anchors", code=code)
        said = json.loads(self.artifactsd("worker", "audit", file))
        self.artifacts("registry", "anchor", "--head", f"{said['records']}:{said['head']}")
        assert self.outcome() == (200, KEY)
        anchored = json.loads(self.artifacts("--format", "json", "registry", "anchor", str(file)))
        assert anchored["records"] > said["records"] and anchored["anchors"] == 2, anchored
        assert self.outcome() == (200, KEY)
        lines = file.read_text().splitlines(keepends=True)
        copy.write_text("".join(lines))
        look(0)
        copy.write_text("".join(lines[: anchored["records"] - 1]))
        assert f"has {anchored['records'] - 1} records, but {anchored['records']} were anchored" in look(6)
        copy.write_text("".join(lines[: said["records"] - 1]))
        assert f"has {said['records'] - 1} records, but {said['records']} were anchored" in look(6)

    def revoked_laptop_gets_nothing(self):
        laptop = vault.thumbprint(vault.jwk(self.device_key()))
        seconds = self.refused_after("device_revoked", "device", "revoke", laptop)
        # The broker, too: by its name, or because it has ended the device's sessions by now.
        said = self.tried({}, "secret", "read", "openrouter")
        assert "device_revoked" in said or "the session was ended" in said, said
        return f"refused {seconds:.2f} s after the block"

    def audit_tells_all_of_it(self):
        file = self.folder / "worker/audit.jsonl"
        self.artifactsd("worker", "audit", file)
        text = file.read_text()
        for reason in ("scope_denied", "device_unknown", "device_revoked", "epoch_mismatch", "registry_unavailable"):
            assert f'"{reason}"' in text, f"{reason} is not in the audit"
        assert KEY not in text


if __name__ == "__main__":
    suite = Suite(sys.argv[1])
    try:
        code = suite.run(suite.cases())
    finally:
        suite.stop_dev()
    sys.exit(code)
