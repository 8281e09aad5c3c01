"""What the suites of the vault are made of: the programs, the store by boto3, and a second
implementation of the vault's formats, which also plays whoever got hold of the keys of one part.

A suite is told by a file where everything is, and writes one line for each case to the file in RESULT.
"""

import json
import os
import pathlib
import secrets
import ssl
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request

import boto3
from botocore.client import Config
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

import vault
from tokens import by, joined


class Skipped(Exception):
    """A case that cannot be tried here, and why."""


class VaultSuite:
    """One vault that `artifactsd dev` runs, and its operator's machine."""

    #: What the names of the cases begin with.
    topic = "vault"

    def __init__(self, lab):
        with open(lab) as file:
            self.lab = json.load(file)
        self.work, self.failed = pathlib.Path(self.lab["work"]), 0
        self.folder = self.work / "dev/vault"
        self.config = pathlib.Path(os.environ["XDG_CONFIG_HOME"]) / "artifacts"

    def attach(self):
        """Takes the vault that runs."""
        self.ready = json.loads((self.work / "dev.json").read_text())
        self.vault = self.ready["vault"]
        self.s3 = boto3.client(
            "s3", endpoint_url=self.ready["endpoint"], region_name="us-east-1", aws_access_key_id=self.lab["access_key"],
            aws_secret_access_key=self.lab["secret_key"], config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
        self.tls = ssl.create_default_context(cafile=self.vault["ca_file"])

    def run(self, cases):
        """Runs the cases, each going on where the one before ended; the exit code."""
        for case in cases:
            self.report(case)
        return 1 if self.failed else 0

    def recover(self):
        """After a case that failed: what makes the others fail by themselves only."""

    def report(self, case):
        """A case may return what it measured."""
        name = f"{self.topic}: " + case.__name__.replace("_s_", "'s ").replace("_", " ")
        begun = time.monotonic()
        try:
            measured = case()
            line = f"pass {name} ({time.monotonic() - begun:.1f} s{f'; {measured}' if measured else ''})"
        except Skipped as reason:
            line = f"skip {name}: {reason}"
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            self.recover()
            # An assertion without words is told by its source.
            why = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            line = f"fail {name}: {' '.join(why.split())[:500]}"
        print(line, file=sys.stderr)
        with open(os.environ["RESULT"], "a") as result:
            print(line, file=result)

    def artifacts(self, *words, input="", code=0, env=None):
        done = subprocess.run([self.lab["artifacts"], *words], input=input, capture_output=True, text=True, timeout=120,
                              env={**os.environ, **(env or {})})
        assert done.returncode == code, f"artifacts {' '.join(words)}: exit {done.returncode}, expected {code}: {done.stderr[-600:]}"
        return done.stdout if code == 0 else done.stderr

    def artifactsd(self, *words, input=""):
        done = subprocess.run([self.lab["artifactsd"], *map(str, words)], input=input, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"artifactsd {' '.join(map(str, words))}: {done.stderr[-600:]}"
        return done.stdout

    def read(self, service, way, code=0):
        return self.artifacts("secret", "read", service, "--credential-backend", way, code=code)

    def store(self, service, value, way="http"):
        self.artifacts("secret", "store", service, "-", "--credential-backend", way, input=value)

    def blob(self, service, actor=None):
        return f"bots/{actor or self.operator}/credentials/{service}.enc"

    def get(self, key):
        return self.s3.get_object(Bucket=self.vault["bucket"], Key=key)["Body"].read()

    def put(self, key, body):
        self.s3.put_object(Bucket=self.vault["bucket"], Key=key, Body=body)

    def device_key(self):
        return load_der_private_key((self.config / "vault/device").read_bytes(), None)

    def broker_key(self):
        listed = json.loads((self.folder / "broker/keys/keys.json").read_text())["keys"]
        kid = max(listed, key=lambda key: key["signs_from"])["kid"]
        pem = (self.folder / f"broker/keys/{kid}.pem").read_bytes()
        return kid, load_pem_private_key(pem, None)

    def master_secret(self, epoch):
        """K3 from the signer's sealed file, opened by a second implementation."""
        sealed = (self.folder / "signer/signer.sealed").read_bytes()
        passphrase = (self.folder / "signer/passphrase").read_text().strip()
        length = int.from_bytes(sealed[10:12], "big")
        head, rest = sealed[: 12 + length], sealed[12 + length :]
        memory, times, lanes = (int.from_bytes(sealed[at : at + 4], "big") for at in (12, 16, 20))
        key = Argon2id(salt=sealed[24:40], length=32, iterations=times, lanes=lanes, memory_cost=memory).derive(passphrase.encode())
        nonce, body = rest[28:40], rest[40:]
        context = b"".join(len(p).to_bytes(4, "big") + p for p in (b"artifacts.signer.1", b"epochs", head))
        plain = AESGCM(key).decrypt(nonce, body, context)
        return plain[40 * (epoch - 1) + 8 : 40 * epoch]

    def kek(self, epoch=1, actor=None):
        return vault.kek(self.master_secret(epoch), self.operator, actor or self.operator)

    def opened(self, service, key=None):
        place = {"operator": self.operator, "actor": self.operator, "service": service}
        return vault.open_envelope(key or self.kek(), place, self.get(self.blob(service)))

    def ask(self, url, body, proof=None, context=None):
        """Status and answer."""
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        if proof:
            request.add_header("artifacts-proof", proof)
        try:
            answer = urllib.request.urlopen(request, timeout=30, context=context or self.tls)
        except urllib.error.HTTPError as error:
            answer = error
        return answer.status, json.loads(answer.read() or b"{}")

    def forged_cap(self, service, device, key=None, **other):
        """What the broker would sign, by the broker's own key or another."""
        kid, own = self.broker_key()
        now = int(time.time())
        claims = {
            "iss": self.vault["broker"], "aud": "artifacts-worker", "sub": self.operator, "operator": self.operator, "op": "fetch",
            "data_class": "credentials", "service": service, "epoch": 1, "iat": now, "nbf": now, "exp": now + 100,
            "jti": secrets.token_hex(16), "cnf": {"jkt": vault.thumbprint(vault.jwk(device))}, **other,
        }
        signing = key or own
        header = {"alg": "ES256", "typ": "cap+jwt", "kid": kid if key is None else vault.thumbprint(vault.jwk(key))}
        return joined(header, claims, by(signing))

    def fetch(self, cap, service, device):
        """A whole request to the worker, as a device would make it."""
        url = self.vault["worker"] + "/v1/cred/fetch"
        body = json.dumps({"cap": cap, "service": service}).encode()
        claims = {"htm": "POST", "htu": url, "iat": int(time.time()), "jti": secrets.token_hex(16), "ath": vault.digest(cap.encode()),
                  "bdh": vault.digest(body)}
        proof = joined({"alg": "ES256", "typ": "cap-proof+jwt", "jwk": vault.jwk(device)}, claims, by(device))
        return self.ask(url, body, proof)

    def mutual(self, role):
        """TLS with the certificate of a role."""
        context = ssl.create_default_context(cafile=self.vault["ca_file"])
        context.load_cert_chain(self.folder / role / "certificate.pem", self.folder / role / "certificate-key.pem")
        return context

    def internal(self, role):
        ports = json.loads((self.folder / "ports.json").read_text())
        return f"https://127.0.0.1:{ports[role + '-internal']}"

    def holds(self, pid, *wanted):
        """Which of these byte strings lie in a process's memory."""
        found = set()
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                where, rights = line.split()[:2]
                if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                    continue
                start, end = (int(part, 16) for part in where.split("-"))
                try:
                    memory.seek(start)
                    data = memory.read(end - start)
                except (OSError, ValueError, OverflowError):
                    continue
                found |= {one for one in wanted if one in data}
        return found

    def wait(self, so, what, seconds=15):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := so():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come within {seconds} s")

    def tried(self, env, *words):
        """What a command says on stderr; nothing where it did what it should."""
        done = subprocess.run([self.lab["artifacts"], *words, "--credential-backend", "http"], input="x", capture_output=True, text=True,
                              env={**os.environ, **env}, timeout=60)
        return done.stderr

    def caps_held(self):
        """How many capabilities the daemon holds."""
        return json.loads(self.artifacts("--format", "json", "daemon", "status"))["capabilities"]
