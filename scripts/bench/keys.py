"""How long another tool waits for its keys: `artifacts credential-process` with each place for
keys, beside `aws configure export-credentials`.

The programs take turns, one run each per round, so that a busy moment of the machine meets all
of them. Linux only (the system keyring is a GNOME keyring in a private D-Bus session)."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ACCESS_KEY_ID = "AKIABENCHBENCHBENCH0"
SECRET = "bench-secret-that-opens-nothing"
WORKSPACE = """id = "0198a0a0-0000-7000-8000-000000000000"
backend = "s3"
bucket = "bench"
"""


class Contender:
    """A command in an environment of its own."""

    def __init__(self, name, command, environment):
        self.name, self.command, self.environment = name, command, environment
        self.wall, self.cpu = [], []

    def run(self):
        started = time.perf_counter()
        child = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        answer = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        self.wall.append(1000 * (time.perf_counter() - started))
        self.cpu.append(1000 * (used.ru_utime + used.ru_stime))
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0 or ACCESS_KEY_ID.encode() not in answer:
            raise RuntimeError(f"{self.name} gave no keys: {child.stderr.read().decode()}")

    def figures(self):
        """Milliseconds; the spread is that of the processor time, which the goals are about."""
        return {
            "wall": statistics.median(self.wall),
            "wall_90": statistics.quantiles(self.wall, n=10)[-1],
            "cpu": statistics.median(self.cpu),
            "cpu_min": min(self.cpu),
            "cpu_max": max(self.cpu),
        }


class Session:
    """A private D-Bus session with an unlocked keyring in it."""

    def __init__(self, home):
        self.environment = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/bus",
            "XDG_RUNTIME_DIR": str(home),
        }
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], **self.environment}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        address = self.environment["DBUS_SESSION_BUS_ADDRESS"]
        bus = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"]
        self.children = [subprocess.Popen(bus, **quiet)]
        wait_until(lambda: (home / "bus").exists())
        daemon = ["gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock"]
        self.children.append(subprocess.Popen(daemon, stdin=subprocess.PIPE, **quiet))
        self.children[1].stdin.write(b"login")
        self.children[1].stdin.close()
        owner = "org.freedesktop.DBus.GetNameOwner string:org.freedesktop.secrets".split()
        ask = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
        wait_until(lambda: subprocess.run(ask + owner, **quiet).returncode == 0)

    def end(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()


def wait_until(ready):
    deadline = time.monotonic() + 20
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("the keyring's session did not come up")
        time.sleep(0.05)


def machine(home, artifacts, more):
    """An environment with the keys stored, and a workspace that uses them."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **more}
    workspaces = home / ".config/artifacts/workspaces"
    workspaces.mkdir(parents=True, mode=0o700)
    file = workspaces / "bench.toml"
    file.write_text(WORKSPACE)
    file.chmod(0o600)
    store = [artifacts, "storage", "set", "--access-key-id", ACCESS_KEY_ID, "--secret-stdin"]
    subprocess.run(store, env=environment, input=SECRET.encode(), check=True, capture_output=True)
    return environment


def contenders(folder, artifacts, session, absent):
    def ours(name, more):
        home = folder / name
        home.mkdir(mode=0o700)
        environment = machine(home, artifacts, more)
        return Contender(name, [artifacts, "credential-process", "bench"], environment)

    yield ours("cache file", {})
    file = {"ARTIFACTS_KEYRING_TYPE": "file", "ARTIFACTS_KEYRING_PASSWORD": "correct horse"}
    unlocked = ours("file keyring, unlocked", file)
    # The password is not there any more: only the unlocked session is left.
    del unlocked.environment["ARTIFACTS_KEYRING_PASSWORD"]
    probe = subprocess.run(unlocked.command, env=unlocked.environment, capture_output=True)
    if probe.returncode == 0:
        yield unlocked
    else:
        absent["file keyring, unlocked"] = "this kernel gives no session keyring"
    if session:
        yield ours("system keyring", {"ARTIFACTS_KEYRING_TYPE": "system", **session.environment})
    else:
        absent["system keyring"] = "gnome-keyring-daemon or dbus-daemon is not installed"
    aws = os.environ.get("ARTIFACTS_AWS") or shutil.which("aws")
    if not aws:
        absent["aws configure export-credentials"] = "aws is not installed"
        return
    home = folder / "aws"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET}\n"
    )
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = [aws, "configure", "export-credentials"]
    if subprocess.run(command, env=environment, capture_output=True).returncode != 0:
        absent["aws configure export-credentials"] = "this aws does not know the command"
        return
    yield Contender("aws configure export-credentials", command, environment)


def measure(artifacts, rounds):
    """({contender: figures}, {contender that cannot run: why})."""
    artifacts, absent = str(Path(artifacts).resolve()), {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        session = None
        if shutil.which("gnome-keyring-daemon") and shutil.which("dbus-daemon"):
            home = folder / "session"
            home.mkdir(mode=0o700)
            session = Session(home)
        try:
            all_of_them = list(contenders(folder, artifacts, session, absent))
            for number in range(rounds + 1):
                for contender in all_of_them:
                    contender.run()
                    if number == 0:  # the first run reads the program from the disk
                        contender.wall.clear()
                        contender.cpu.clear()
            return {contender.name: contender.figures() for contender in all_of_them}, absent
        finally:
            if session:
                session.end()
