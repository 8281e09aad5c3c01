"""Writers with a manifest of what was acknowledged to them, and a mount that is killed under them.

    crash.py kills    ARTIFACTS WORKSPACE MOUNTPOINT KILLS  WORK
    crash.py machines ARTIFACTS WORKSPACE MOUNTPOINT ROUNDS WORK

Exit code 0 when everything acknowledged is found again: what was closed, what was synced and is
still open, and every change of names and modes.
"""

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

artifacts, workspace, folder, count, work = sys.argv[2:7]
os.umask(0o022)
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


# What a manifest says of a name; None while an operation on it is under way or was cut off.
ABSENT, DIRECTORY = ("absent",), ("directory",)


def file(body, mode):
    return ("file", body, mode)


def link(target):
    return ("link", target)


# A mount whose process is gone says one of these.
GONE = {errno.ENOTCONN, errno.ECONNABORTED}
NEW_MODE = 0o644
# How many files a writer keeps open after an fsync, at the most.
HELD = 4


class Writer(threading.Thread):
    """Works in its own directory until the mount goes away."""

    def __init__(self, mount, number, manifest):
        super().__init__()
        self.directory = f"w{number}"
        self.mount = mount
        self.manifest = manifest
        self.dice = random.Random(f"{SEED} {number} {time.time_ns()}")
        self.held = []
        # A rename of a directory that is under way: (old, new).
        self.moving = None
        self.surprise = None

    def run(self):
        steps = [self.write, self.write_and_hold, self.move, self.unlink, self.chmod, self.symlink, self.move_directory]
        try:
            self.make(self.directory)
            while True:
                self.dice.choices(steps, [40, 10, 12, 8, 10, 8, 12])[0]()
        except OSError as error:
            if error.errno not in GONE:
                self.surprise = error
        for held in self.held:
            try:
                held.close()
            except OSError:
                pass

    def path(self, name):
        return os.path.join(self.mount, name)

    def make(self, directory):
        if self.manifest.get(directory) != DIRECTORY:
            self.manifest[directory] = None
            os.makedirs(self.path(directory), exist_ok=True)
            self.manifest[directory] = DIRECTORY

    def name(self):
        if self.dice.random() < 0.6:
            return f"{self.directory}/f{self.dice.randrange(12)}"
        directory = f"{self.directory}/d{self.dice.randrange(3)}"
        self.make(directory)
        return f"{directory}/g{self.dice.randrange(4)}"

    def known(self, kind):
        """A name that the manifest is sure of, or None."""
        names = [name for name, entry in self.manifest.items() if entry and entry[0] == kind]
        return self.dice.choice(names) if names else None

    def begin(self, name):
        """The file's mode once it is opened for writing. Until it is closed or synced, any content is allowed."""
        before = self.manifest.get(name, ABSENT)
        self.manifest[name] = None
        if before is None:
            return None
        return NEW_MODE if before == ABSENT else before[2]

    def write(self):
        name = self.name()
        body = content(name, time.time_ns())
        mode = self.begin(name)
        with open(self.path(name), "wb") as opened:
            opened.write(body)
            if self.dice.random() < 0.3:
                opened.flush()
                os.fsync(opened.fileno())
        self.manifest[name] = file(body, mode)

    def write_and_hold(self):
        name = self.name()
        body = content(name, time.time_ns())
        mode = self.begin(name)
        opened = open(self.path(name), "wb", buffering=0)
        self.held.append(opened)
        at = 0
        while at < len(body):
            at += opened.write(body[at:])
        os.fsync(opened.fileno())
        self.manifest[name] = file(body, mode)
        if len(self.held) > HELD:
            self.held.pop(0).close()

    def move(self):
        old, new = self.known("file"), f"{self.directory}/m{self.dice.randrange(6)}"
        if old in (None, new):
            return
        entry = self.manifest[old]
        self.manifest[old] = self.manifest[new] = None
        os.rename(self.path(old), self.path(new))
        self.manifest[old], self.manifest[new] = ABSENT, entry

    def unlink(self):
        name = self.known(self.dice.choice(["file", "link"]))
        if name is not None:
            self.manifest[name] = None
            os.unlink(self.path(name))
            self.manifest[name] = ABSENT

    def chmod(self):
        name = self.known("file")
        if name is not None:
            body, mode = self.manifest[name][1], self.dice.choice([0o600, 0o640, 0o644, 0o755])
            self.manifest[name] = file(body, None)
            os.chmod(self.path(name), mode)
            self.manifest[name] = file(body, mode)

    def symlink(self):
        name = f"{self.directory}/l{self.dice.randrange(6)}"
        if self.manifest.get(name, ABSENT) == ABSENT:
            target = f"to {time.time_ns()}"
            self.manifest[name] = None
            os.symlink(target, self.path(name))
            self.manifest[name] = link(target)

    def move_directory(self):
        """At once, whatever is in it; its objects are copied behind while the work goes on."""
        inner = [name for name, entry in self.manifest.items() if entry == DIRECTORY and "/" in name]
        new = f"{self.directory}/d{self.dice.randrange(6)}"
        if inner and self.manifest.get(new, ABSENT) == ABSENT:
            self.moving = (self.dice.choice(inner), new)
            os.rename(*map(self.path, self.moving))
            self.moved()

    def moved(self):
        old, new = self.moving
        for name in [name for name in self.manifest if name.startswith(f"{old}/")]:
            self.manifest[new + name[len(old):]] = self.manifest[name]
            self.manifest[name] = ABSENT
        self.manifest[old], self.manifest[new] = ABSENT, DIRECTORY
        self.moving = None

    def settle(self):
        """After a kill: a directory whose rename was cut off is whole at one of its names."""
        if self.moving is None:
            return
        at_old, at_new = (os.path.isdir(self.path(name)) for name in self.moving)
        if at_old == at_new:
            raise SystemExit(f"the rename {self.moving} was cut off: at the old name {at_old}, at the new {at_new}")
        if at_new:
            self.moved()


def mount_pid():
    for mount in json.loads(run("status", "--format", "json", check=False)):
        if mount["workspace"] == workspace and mount["mountpoint"] == folder:
            return mount["pid"]
    raise SystemExit("the mount is not in the status")


def found_at(path, with_mode):
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ABSENT
    if stat.S_ISDIR(status.st_mode):
        return DIRECTORY
    if stat.S_ISLNK(status.st_mode):
        return link(os.readlink(path))
    with open(path, "rb") as opened:
        return file(opened.read(), stat.S_IMODE(status.st_mode) if with_mode else None)


def short(entry):
    return f"{len(entry[1])} bytes, mode {entry[2] or 0:o}" if entry[0] == "file" else " ".join(entry)


def compare(root, manifests, when):
    wrong, checked = [], 0
    for manifest in manifests:
        for name, entry in sorted(manifest.items()):
            if entry is None:
                continue
            checked += 1
            try:
                found = found_at(os.path.join(root, name), entry[0] == "file" and entry[2] is not None)
            except OSError as error:
                wrong.append(f"{name}: {error}")
                continue
            if found != entry:
                wrong.append(f"{name}: {short(found)} instead of {short(entry)}")
    if wrong:
        raise SystemExit(f"{when}: {len(wrong)} of {checked} names are wrong: {wrong[:5]}")
    return checked


def kills():
    manifests = [{} for _ in range(3)]
    dice = random.Random(SEED)
    for number in range(int(count)):
        writers = [Writer(folder, at, manifest) for at, manifest in enumerate(manifests)]
        for writer in writers:
            writer.start()
        time.sleep(dice.uniform(0.02, 0.5))
        os.kill(mount_pid(), signal.SIGKILL)
        for writer in writers:
            writer.join(30)
            if writer.is_alive():
                raise SystemExit("a writer hangs although its mount is dead")
            if writer.surprise is not None:
                raise SystemExit(f"before kill {number + 1}: {writer.surprise}")
        run("mount", workspace, folder)
        for writer in writers:
            writer.settle()
        compare(folder, manifests, f"after kill {number + 1}")
    run("flush", folder)
    with second_machine() as other:
        checked = compare(other.folder, manifests, "through an empty cache")
    files = sum(entry is not None and entry[0] == "file" for manifest in manifests for entry in manifest.values())
    print(f"{checked} names as acknowledged after {count} kills, {files} files among them")


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
