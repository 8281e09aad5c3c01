"""A vault on this machine as docs/vault-operator.md puts it up: each role started by itself, from files that
its own commands have made, before a store that is there already. Any of them can be killed and started again,
and there may be several workers."""

import base64
import json
import os
import pathlib
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.serialization import load_der_private_key

import vault as formats
from tokens import by, joined

BUCKET = "vault"
# Debug programs on a small machine, and a signer unseals with a slow function.
PATIENCE = 60


class Deployment:
    """`store` has endpoint, access_key, secret_key, kind and role_arn."""

    def __init__(self, folder, programs, issuer=None):
        self.folder, self.programs = pathlib.Path(folder), programs
        self.running, self.ready, self.ports = {}, {}, {}
        self.broker = issuer or f"http://127.0.0.1:{self.port('broker')}"
        self.signer = f"https://127.0.0.1:{self.port('signer')}"
        self.ca = self.folder / "ca/ca.pem"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "XDG_RUNTIME_DIR": str(self.folder / "home/run")}

    # Putting it up.

    def prepare(self):
        """Authority, certificates, the signer's secrets, the registry: once."""
        for folder in ("home/run", "home/.config/artifacts"):
            (self.folder / folder).mkdir(parents=True, mode=0o700)
        self.artifactsd("ca", "init", "--data", self.folder / "ca")
        for name, role in [("broker", "broker"), ("signer", "signer"), ("worker-1", "worker"), ("worker-2", "worker"), ("tls", None)]:
            (self.folder / name).mkdir(mode=0o700)
            self.artifactsd("ca", "issue", "--data", self.folder / "ca", *(["--role", role] if role else []), "--name", "127.0.0.1",
                            "--certificate", self.folder / name / "certificate.pem", "--key", self.folder / name / "certificate-key.pem")
        self.artifactsd("registry", "init", "--data", self.folder / "registry")
        self.passphrase().touch(0o600)
        self.passphrase().write_text(secrets.token_urlsafe(24))
        self.artifactsd("signer", "init", "--data", self.folder / "signer", "--passphrase-file", self.passphrase())

    def use_store(self, store):
        """Which store it is, told to the clients too."""
        self.store = store
        config = self.folder / "home/.config/artifacts/config.toml"
        config.touch(0o600)
        config.write_text(f"""[vault]
broker = "{self.broker}"
worker = "{self.worker(1)}"
signer = "{self.signer}"
bucket = "{BUCKET}"
endpoint = "{store['endpoint']}"
region = "us-east-1"
role_arn = "{store['role_arn']}"
ca_file = "{self.ca}"

[vault.registry]
kind = "documents"
folder = "{self.folder / 'registry/documents'}"
""")

    def provision(self, action, words=()):
        """`artifacts vault provision`, with the keys of the store's administrator."""
        keys = {"ARTIFACTS_S3_ACCESS_KEY_ID": self.store["access_key"], "ARTIFACTS_S3_SECRET_ACCESS_KEY": self.store["secret_key"]}
        return json.loads(self.artifacts("--format", "json", "vault", "provision", action, "--store", self.store["kind"], *words,
                                         env=keys))

    def log_in(self):
        """The first operator, whose documents are pinned, on a machine that may do everything."""
        token = self.artifactsd("broker", "bootstrap", "--data", self.folder / "broker")
        self.operator = json.loads(self.artifacts("--format", "json", "vault", "login", "--bootstrap", input=token))["operator"]
        key = self.artifacts("registry", "key", "show")
        self.artifactsd("registry", "pin", "--data", self.folder / "registry", "--operator", self.operator, "--key", "-", input=key)
        self.artifacts("device", "register", "--role", "master")

    # The roles.

    def start(self, role):
        """Starts a role, waits until it is ready, and says how long that took."""
        begun, ready = time.monotonic(), self.folder / f"{role}.ready.json"
        ready.unlink(missing_ok=True)
        name = role.partition("-")[0]
        with open(self.folder / f"{role}.log", "ab") as log:
            child = subprocess.Popen(
                [self.programs["artifactsd"], name, "serve", *map(str, getattr(self, f"{name}_flags")(role)), "--ready-file", str(ready)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "ARTIFACTSD_PARENT": str(os.getpid())})
        self.running[role] = child
        while not ready.exists():
            assert child.poll() is None, f"{role} did not start: {self.log(role)}"
            assert time.monotonic() < begun + PATIENCE, f"{role} is not ready after {PATIENCE} s: {self.log(role)}"
            time.sleep(0.02)
        self.ready[role] = json.loads(ready.read_text())
        return time.monotonic() - begun

    def kill(self, role):
        """As the kernel does it that has no memory left."""
        child = self.running.pop(role)
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL, f"{role} had ended by itself before: {self.log(role)}"

    def end(self):
        for child in reversed(list(self.running.values())):
            child.terminate()
        for child in self.running.values():
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
        self.running.clear()

    def pid(self, role):
        child = self.running[role]
        assert child.poll() is None, f"{role} has ended: {self.log(role)}"
        return child.pid

    def log(self, role):
        return (self.folder / f"{role}.log").read_text()[-800:]

    def broker_flags(self, _role):
        config = self.folder / "broker.toml"
        return [*self.own("broker"), *(["--config", config] if config.exists() else []), *self.internal("broker"), "--internal-listen", f"127.0.0.1:{self.port('broker-internal')}",
                "--public-url", self.broker, *self.registry()]

    def signer_flags(self, _role):
        return [*self.own("signer"), *self.tls(), *self.internal("signer"), "--internal-listen", f"127.0.0.1:{self.port('signer-internal')}",
                "--passphrase-file", self.passphrase(), "--broker", self.broker, "--login-at", self.broker, "--own-keys"]

    def worker_flags(self, role):
        return [*self.own(role), *self.tls(), *self.internal(role), "--broker", self.broker, "--broker-internal",
                f"https://127.0.0.1:{self.port('broker-internal')}", "--signer", f"https://127.0.0.1:{self.port('signer-internal')}",
                "--bucket", BUCKET, "--endpoint", self.store["endpoint"], "--role-arn", self.store["role_arn"], *self.registry()]

    def own(self, role):
        return ["--data", self.folder / role, "--listen", f"127.0.0.1:{self.port(role)}"]

    def tls(self):
        return ["--tls-certificate", self.folder / "tls/certificate.pem", "--tls-key", self.folder / "tls/certificate-key.pem"]

    def internal(self, role):
        return ["--internal-certificate", self.folder / role / "certificate.pem", "--internal-key",
                self.folder / role / "certificate-key.pem", "--internal-ca", self.ca]

    def registry(self):
        return ["--registry-documents", self.folder / "registry/documents", "--registry-pins", self.folder / "registry/operators.json"]

    def worker(self, number):
        return f"https://127.0.0.1:{self.port(f'worker-{number}')}"

    def internal_url(self, role):
        return f"https://127.0.0.1:{self.port(f'{role}-internal')}"

    def passphrase(self):
        return self.folder / "signer/passphrase"

    def port(self, name):
        if name not in self.ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.ports[name] = free.getsockname()[1]
        return self.ports[name]

    def mutual(self, role):
        """TLS with the certificate of a role."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.folder / role / "certificate.pem", self.folder / role / "certificate-key.pem")
        return context

    # The programs.

    def artifacts(self, *words, input="", code=0, env=None):
        return self.program("artifacts", words, input, code, env)

    def artifactsd(self, *words, input="", code=0, env=None):
        return self.program("artifactsd", words, input, code, env)

    def program(self, name, words, input, code, env):
        done = subprocess.run([self.programs[name], *map(str, words)], input=input, capture_output=True, text=True, timeout=120,
                              env={**self.env, **(env or {})})
        said = f"{name} {' '.join(map(str, words))}"
        assert done.returncode == code, f"{said}: exit {done.returncode}, expected {code}: {done.stderr[-600:]}"
        return done.stdout if code == 0 else done.stderr


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
