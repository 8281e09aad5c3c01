"""Writers with a manifest of what they closed, and a mount that is killed under them.

    crash.py kills    ARTIFACTS WORKSPACE MOUNTPOINT KILLS  WORK
    crash.py machines ARTIFACTS WORKSPACE MOUNTPOINT ROUNDS WORK

Exit code 0 when every closed version is found again.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

artifacts, workspace, folder, count, work = sys.argv[2:7]
SEED = int(os.environ.get("CRASH_SEED", "1"))


def run(*arguments, env=None, check=True):
    done = subprocess.run([artifacts, *arguments], env=env, capture_output=True, text=True, timeout=120)
    if check and done.returncode != 0:
        raise SystemExit(f"artifacts {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def content(name, version):
    """Different for every file and version, and of many sizes: a torn file cannot pass."""
    dice = random.Random(f"{name} {version}")
    size = dice.choice([0, 1, 100, 4096, 5000, 70_000, 300_000])
    return (f"{name} {version}\n".encode() * (size // 8 + 1))[:size]


class Writer(threading.Thread):
    """Creates, overwrites and renames in its own directory until the mount goes away."""

    def __init__(self, mount, number, manifest):
        super().__init__()
        self.directory = f"w{number}"
        self.mount = mount
        self.manifest = manifest
        self.dice = random.Random(f"{SEED} {number} {time.time_ns()}")

    def run(self):
        try:
            os.makedirs(os.path.join(self.mount, self.directory), exist_ok=True)
            while True:
                self.step()
        except OSError:
            return

    def step(self):
        name = f"{self.directory}/f{self.dice.randrange(12)}"
        if self.dice.random() < 0.2 and self.manifest.get(name) is not None:
            self.move(name, f"{self.directory}/m{self.dice.randrange(6)}")
        else:
            self.write(name)

    def write(self, name):
        version = f"{time.time_ns()}"
        body = content(name, version)
        # Until it is closed, any state of this file is allowed.
        self.manifest[name] = None
        with open(os.path.join(self.mount, name), "wb") as file:
            file.write(body)
            if self.dice.random() < 0.3:
                file.flush()
                os.fsync(file.fileno())
        self.manifest[name] = body

    def move(self, old, new):
        body = self.manifest[old]
        self.manifest[old] = self.manifest[new] = None
        os.rename(os.path.join(self.mount, old), os.path.join(self.mount, new))
        del self.manifest[old]
        self.manifest[new] = body


def mount_pid():
    for mount in json.loads(run("status", "--format", "json", check=False)):
        if mount["workspace"] == workspace and mount["mountpoint"] == folder:
            return mount["pid"]
    raise SystemExit("the mount is not in the status")


def compare(root, manifest, when):
    wrong = []
    for name, body in sorted(manifest.items()):
        if body is None:
            continue
        try:
            with open(os.path.join(root, name), "rb") as file:
                found = file.read()
        except OSError as error:
            wrong.append(f"{name}: {error}")
            continue
        if found != body:
            wrong.append(f"{name}: {len(found)} bytes instead of {len(body)}")
    if wrong:
        raise SystemExit(f"{when}: {len(wrong)} of {len(manifest)} files are wrong: {wrong[:5]}")


def kills():
    manifest = {}
    dice = random.Random(SEED)
    for number in range(int(count)):
        writers = [Writer(folder, at, manifest) for at in range(3)]
        for writer in writers:
            writer.start()
        time.sleep(dice.uniform(0.02, 0.5))
        os.kill(mount_pid(), signal.SIGKILL)
        for writer in writers:
            writer.join(30)
            if writer.is_alive():
                raise SystemExit("a writer hangs although its mount is dead")
        run("mount", workspace, folder)
        compare(folder, manifest, f"after kill {number + 1}")
    run("flush", folder)
    with second_machine() as other:
        compare(other.folder, manifest, "through an empty cache")
    print(f"{len(manifest)} files whole after {count} kills")


class second_machine:
    """The same workspace mounted with another home: nothing cached, nothing in the journal."""

    def __enter__(self):
        self.home = os.path.join(work, "other-machine")
        self.folder = os.path.join(work, "mnt-other")
        os.makedirs(self.folder, exist_ok=True)
        self.env = dict(os.environ)
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ["HOME"], ".config")
        self.env["XDG_CONFIG_HOME"] = config
        for name in ["CACHE", "STATE", "DATA"]:
            self.env[f"XDG_{name}_HOME"] = os.path.join(self.home, name.lower())
        run("mount", workspace, self.folder, env=self.env)
        return self

    def __exit__(self, *_):
        run("unmount", self.folder, env=self.env)
        shutil.rmtree(self.home, ignore_errors=True)


def machines():
    """Both write each file at the same time; both versions must be in the bucket."""
    total = int(count)
    with second_machine() as other:
        versions = {}
        for start in range(0, total, 10):
            names = [f"shared/{at}" for at in range(start, min(start + 10, total))]
            os.makedirs(os.path.join(folder, "shared"), exist_ok=True)
            for name in names:
                write(folder, name, f"{name} base")
            run("flush", folder)
            wait_for(other.folder, names)
            for name in names:
                versions[name] = {f"{name} {who} {SEED}" for who in ["ada", "bob"]}
            threads = [
                threading.Thread(target=lambda root=root, who=who: [write(root, n, f"{n} {who} {SEED}") for n in names])
                for root, who in [(folder, "ada"), (other.folder, "bob")]
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            run("flush", folder)
            run("flush", other.folder, env=other.env)
    shutil.rmtree(os.path.join(work, "other-machine"), ignore_errors=True)
    with second_machine() as fresh:
        shared = os.path.join(fresh.folder, "shared")
        found = {}
        for entry in os.listdir(shared):
            with open(os.path.join(shared, entry)) as file:
                found.setdefault(f"shared/{entry.split('.conflict-')[0]}", set()).add(file.read())
        lost = {name: wanted - found.get(name, set()) for name, wanted in versions.items()}
        lost = {name: missing for name, missing in lost.items() if missing}
        if lost:
            raise SystemExit(f"{len(lost)} of {total} files lost a version: {list(lost.items())[:5]}")
    print(f"{total} files, both versions of each kept")


def write(root, name, text):
    with open(os.path.join(root, name), "w") as file:
        file.write(text)


def wait_for(root, names):
    deadline = time.time() + 30
    while time.time() < deadline:
        try:
            if all(open(os.path.join(root, name)).read().endswith("base") for name in names):
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit("the other machine does not see the files within 30 s")


{"kills": kills, "machines": machines}[sys.argv[1]]()
