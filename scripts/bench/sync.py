"""Two-way sync beside rclone bisync and unison: the same trees, the same store, in one run.

Every measure of a round visits all peers before the next. unison knows no object store: it keeps two
local folders alike, so its figures are those of the local side alone."""

import contextlib
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from live import Machine
from peers import Absent, Us, run
from service import Service

MIB = 1024 * 1024
HOUR = 3600
# What one run may take: rclone asks for every object by name, with 20 ms for each.
LIMIT = 1800
WATCHED = 1000
CHANGES = 40

# name: (what it is, unit)
METRICS = {
    "first": ("first sync of {files:,} small files into an empty bucket", "s"),
    "first_cpu": ("… processor time", "s"),
    "first_memory": ("… peak memory", "MiB"),
    "fetch": ("first sync of {files:,} small files into an empty folder", "s"),
    "fetch_cpu": ("… processor time", "s"),
    "fetch_memory": ("… peak memory", "MiB"),
    "idle": ("a pass with nothing to do, {files:,} files", "s"),
    "idle_cpu": ("… processor time", "s"),
    "idle_memory": ("… peak memory", "MiB"),
    "idle_large": ("a pass with nothing to do, {known:,} files", "s"),
    "idle_large_cpu": ("… processor time", "s"),
    "idle_large_memory": ("… peak memory", "MiB"),
    "change": ("one changed file of {files:,}", "s"),
    "change_cpu": ("… processor time", "s"),
    "moves": ("a folder of {moved:,} files renamed, of {files:,}", "s"),
    "moves_cpu": ("… processor time", "s"),
    "big": ("a file of {big:,} MiB into the bucket", "s"),
    "big_cpu": ("… processor time", "s"),
    "big_memory": ("… peak memory", "MiB"),
    "big_fetch": ("a file of {big:,} MiB into the folder", "s"),
    "big_fetch_cpu": ("… processor time", "s"),
    "big_fetch_memory": ("… peak memory", "MiB"),
    "watch_p50": ("`--watch`: from a change until the other machine's folder has it, half within", "ms"),
    "watch_p99": ("… 99 % within", "ms"),
}

# (metric, latency, peer, ratio, words): so many times as fast as the peer.
GOALS = [
    ("first", 0, "rclone", 3.0, "first sync ≥ 3 × rclone"),
    ("first", 20, "rclone", 3.0, "first sync with 20 ms ≥ 3 × rclone"),
    ("idle_large", 0, "rclone", 10.0, "nothing to do, {known:,} files, ≥ 10 × rclone"),
    ("idle_large", 20, "rclone", 10.0, "nothing to do, {known:,} files, with 20 ms, ≥ 10 × rclone"),
    ("moves", 0, "rclone", 10.0, "moves ≥ 10 × rclone"),
    ("moves", 20, "rclone", 10.0, "moves with 20 ms ≥ 10 × rclone"),
]

# (metric, latency, most, words)
LIMITS = [
    ("idle_large_cpu", 0, lambda sizes: 1.0, "nothing to do, {known:,} files: ≤ 1 s of processor time for the local "
     "side (the figure is of the whole process, with the listing of the bucket)"),
    ("idle_large_memory", 0, lambda sizes: 64 + sizes["known"] * 300 / MIB, "memory ≤ 300 bytes per known file + 64 MiB"),
    ("watch_p50", 0, lambda sizes: 1000, "`--watch`: half of the changes within 1 s"),
]


class Cost:
    """What a program took: seconds, processor seconds, the most memory."""

    def __init__(self, command, env):
        with tempfile.TemporaryFile() as out:
            begun = time.monotonic()
            child = subprocess.Popen([str(word) for word in command], env=env, stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds = time.monotonic() - begun
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                out.seek(0)
                words = out.read().decode(errors="replace").strip()[-600:]
                raise RuntimeError(f"{os.path.basename(str(command[0]))}: exit {child.returncode}: {words}")
        self.processor = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss / 1024

    def as_figures(self, name):
        return {name: self.seconds, f"{name}_cpu": self.processor, f"{name}_memory": self.memory}


class Pair:
    """A folder and what a peer keeps it like; `other` is a second machine with the same."""

    def __init__(self, peer, folder, place):
        self.peer, self.folder, self.place = peer, folder, place
        # What this machine knows of the pair.
        self.home = folder.with_name(f"{folder.name}.{peer.name}")
        self.home.mkdir()

    def first(self):
        return self.peer.first(self)

    def again(self):
        return self.peer.again(self)

    def other(self, folder):
        folder.mkdir()
        return Pair(self.peer, folder, self.place)


class Ours:
    name = "artifacts"
    has_bucket = True

    def __init__(self, bench):
        self.bench = bench
        self.program = bench.arguments.artifacts

    def first(self, pair):
        self._know(pair)
        return self.again(pair)

    def again(self, pair):
        self._know(pair)
        return Cost([self.program, "bisync", "w", pair.folder], self._env(pair))

    def _know(self, pair):
        """A workspace's endpoint is part of what a machine knows of it: one configuration per latency."""
        if self._config(pair).exists():
            return
        marker = self.bench.s3.list("scratch", f"{pair.place}/.artifacts/workspace.json")
        word = "attach" if any(True for _ in marker) else "create"
        run([self.program, "workspace", word, "w", "--bucket", "scratch", "--prefix", pair.place + "/",
             "--endpoint", self.bench.endpoint(self.bench.latency)], env=self._env(pair))

    def _config(self, pair):
        return pair.home / f"config-{self.bench.latency}"

    def _env(self, pair):
        return {
            **os.environ,
            "ARTIFACTS_S3_ACCESS_KEY_ID": self.bench.access_key,
            "ARTIFACTS_S3_SECRET_ACCESS_KEY": self.bench.secret_key,
            "XDG_CONFIG_HOME": str(self._config(pair)),
            **{f"XDG_{kind}_HOME": str(pair.home / kind.lower()) for kind in ("DATA", "CACHE", "STATE")},
        }


class Rclone:
    name = "rclone"
    has_bucket = True
    options = []

    def __init__(self, bench):
        self.bench = bench
        self.program = os.environ.get("ARTIFACTS_RCLONE") or shutil.which("rclone")
        if not self.program:
            raise Absent("rclone is not installed")

    def first(self, pair):
        return self._run(pair, "--resync")

    def again(self, pair):
        return self._run(pair)

    def _run(self, pair, *options):
        command = [self.program, "bisync", pair.folder, f"s:scratch/{pair.place}", "--workdir", pair.home / "bisync",
                   "--filter", "- /.artifacts/**", *self.options, *options]
        return Cost(command, rclone_env(self.bench, self.bench.latency))


class RcloneTuned(Rclone):
    """With as much at one time as ours, and listings in one piece."""

    name = "rclone-tuned"
    options = ["--transfers", "32", "--checkers", "32", "--fast-list"]


class Unison:
    """Two local folders: it knows no object store."""

    name = "unison"
    has_bucket = False

    def __init__(self, bench):
        self.bench = bench
        self.program = shutil.which("unison")
        if not self.program:
            raise Absent("unison is not installed")

    def first(self, pair):
        self._replica(pair).mkdir(exist_ok=True)
        return self.again(pair)

    def again(self, pair):
        env = {**os.environ, "UNISON": str(pair.home), "HOME": str(pair.home)}
        return Cost([self.program, pair.folder, self._replica(pair), "-ui", "text", "-batch", "-silent",
                     "-times", "-confirmbigdel=false"], env)

    def _replica(self, pair):
        return self.bench.work / f"unison-{pair.place}"


ALL = [Ours, Rclone, RcloneTuned, Unison]
NAMES = [peer.name for peer in ALL]


def rclone_env(bench, latency):
    return {
        **os.environ,
        "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other",
        "RCLONE_CONFIG_S_REGION": "us-east-1", "RCLONE_CONFIG_S_ENDPOINT": bench.endpoint(latency),
        "RCLONE_CONFIG_S_ACCESS_KEY_ID": bench.access_key, "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": bench.secret_key,
        "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true",
    }


class Trees:
    """What is synced: files whose times are an hour old, as most of a folder is."""

    def __init__(self, bench):
        self.bench = bench
        self.sizes = {"files": bench.arguments.files, "known": bench.arguments.known,
                      "moved": bench.arguments.files // 10, "big": bench.arguments.big_mib}

    def small(self, folder):
        """Ten directories."""
        text = b"".join(b"line %d of a small file, not long\n" % i for i in range(18))[:600]
        for d in range(10):
            (folder / f"d{d:02}").mkdir(parents=True)
            for f in range(self.sizes["files"] // 10):
                _write(folder / f"d{d:02}" / f"f{f:04}.txt", b"%d/%d\n" % (d, f) + text)
        return folder

    def large(self, folder):
        """A hundred directories."""
        for d in range(100):
            (folder / f"d{d:03}").mkdir(parents=True)
            for f in range(self.sizes["known"] // 100):
                _write(folder / f"d{d:03}" / f"a-file-with-a-usual-name-{f:05}.txt", b"%d/%d" % (d, f))
        return folder

    def big(self, folder):
        folder.mkdir()
        with open(folder / "big.bin", "wb") as file:
            for _ in range(self.sizes["big"]):
                file.write(os.urandom(MIB))
        _age(folder / "big.bin")
        return folder


def _write(path, body):
    path.write_bytes(body)
    _age(path)


def _age(path):
    before = time.time() - HOUR
    os.utime(path, (before, before))


class Run:
    """One run of the benchmark: the peers that are there, and what they were measured with."""

    def __init__(self, bench, log):
        self.bench, self.log = bench, log
        self.trees = Trees(bench)
        self.results = {str(ms): {} for ms in bench.arguments.latency}
        self.failures, self.absent, self.peers = [], {}, []
        for kind in ALL:
            if kind.name in bench.arguments.peers:
                try:
                    self.peers.append(kind(bench))
                except Absent as reason:
                    self.absent[kind.name] = str(reason)

    def all(self):
        chosen = self.bench.arguments.sync
        for number in range(self.bench.arguments.rounds):
            order = self.peers[number % len(self.peers):] + self.peers[:number % len(self.peers)]
            # With added latency, and of the large file, one round: with some peers each takes minutes.
            for latency in self.bench.arguments.latency if number == 0 else self.bench.arguments.latency[:1]:
                self.bench.latency = latency
                chosen_now = [("small", "small files", self._small), ("big", "large file", self._big)]
                for name, what, measure in chosen_now[:1] if number else chosen_now:
                    for peer in order if name in chosen else []:
                        self._attempt(number, peer, what, measure)
        if "known" in chosen:
            self._known()
        if "watch" in chosen:
            self.bench.latency = self.bench.arguments.latency[0]
            self._attempt(0, Ours(self.bench), "watch", self._watch)

    def _attempt(self, number, peer, what, measure):
        label = f"round {number + 1}, {self.bench.latency} ms, {what}, {peer.name}"
        try:
            for figures in measure(peer):
                self._note(label, peer, figures)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            first = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            self.failures.append(f"{label}: {first}")
            self.log(f"{label}: FAILED: {error}")

    def _note(self, label, peer, figures):
        into = self.results[str(self.bench.latency)].setdefault(peer.name, {})
        known = {name: value for name, value in figures.items() if name in METRICS}
        for name, value in known.items():
            into.setdefault(name, []).append(value)
        self.log(f"{label}: " + ", ".join(f"{name} {value:.3f}" for name, value in known.items()))

    def _pair(self, peer, make):
        place = self.bench.fresh(f"sync-{peer.name}")
        return Pair(peer, make(self.bench.work / place), place)

    def _small(self, peer):
        pair = self._pair(peer, self.trees.small)
        self.bench.drop_caches()
        yield pair.first().as_figures("first")
        self._count(pair, self.trees.sizes["files"])
        # What was uncertain because it had just been made is known after this one.
        pair.again()
        yield pair.again().as_figures("idle")
        _write(pair.folder / "d05" / "f0000.txt", b"changed")
        yield pair.again().as_figures("change")
        (pair.folder / "d03").rename(pair.folder / "renamed")
        yield pair.again().as_figures("moves")
        self._count(pair, self.trees.sizes["files"])
        if peer.has_bucket:
            other = pair.other(self.bench.work / self.bench.fresh("other"))
            yield other.first().as_figures("fetch")
            _same(pair.folder, other.folder)
            self.bench.discard(other.folder)
        self.bench.discard(pair.folder)

    def _big(self, peer):
        pair = self._pair(peer, self.trees.big)
        yield pair.first().as_figures("big")
        if peer.has_bucket:
            other = pair.other(self.bench.work / self.bench.fresh("other"))
            yield other.first().as_figures("big_fetch")
            _same(pair.folder, other.folder)
            shutil.rmtree(other.folder)
        shutil.rmtree(pair.folder)

    def _known(self):
        """Once: the tree is put there by rclone, so that each peer finds its own times in it, and every
        peer keeps the same objects."""
        place = self.bench.fresh("sync-known")
        folder = self.trees.large(self.bench.work / place)
        self.log(f"{self.trees.sizes['known']:,} files into the bucket")
        run([shutil.which("rclone"), "copy", folder, f"s:scratch/{place}", "--transfers", "32", "--checkers", "32"],
            env=rclone_env(self.bench, 0), timeout=LIMIT)
        for peer in self.peers:
            pair = Pair(peer, folder, place)
            for latency in self.bench.arguments.latency:
                self.bench.latency = latency
                if latency == 0 or peer.has_bucket:
                    rounds = 1 if latency else self.bench.arguments.rounds
                    self._attempt(0, peer, "known files", lambda _, pair=pair, n=rounds: self._idle_large(pair, n))
            # The folder is the next peer's: nothing of this one may be in it.
            shutil.rmtree(folder / ".artifacts", ignore_errors=True)

    def _idle_large(self, pair, rounds):
        if not any(pair.home.iterdir()):
            pair.first()
            pair.again()
        for _ in range(rounds):
            yield pair.again().as_figures("idle_large")

    def _count(self, pair, count):
        if pair.peer.has_bucket:
            names = [key for key, _ in self.bench.s3.list("scratch", pair.place + "/") if "/.artifacts/" not in key]
            if len(names) != count:
                raise RuntimeError(f"{len(names)} objects in the bucket, expected {count}")

    def _watch(self, _):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="artifacts-bench-"))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            service = Service(self.bench.arguments.artifactsd, self.bench.arguments.testkit, folder)
            stack.callback(service.end)
            service.start()
            waits = _watched(service, self.bench.arguments.artifacts, stack)
        rank = sorted(waits)[max(0, -(-99 * len(waits) // 100) - 1)]
        yield {"watch_p50": statistics.median(waits), "watch_p99": rank}


def _same(ours, theirs):
    """What was measured must have been done."""
    done = subprocess.run(["diff", "-rq", "--exclude=.artifacts", str(ours), str(theirs)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the folders differ: {done.stdout[:300]}{done.stderr[:300]}")


def _watched(service, artifacts, stack):
    """Milliseconds from when a file is closed in one machine's folder until it is in the other's."""
    _, session = service.tenant("watched")
    handle = service.client(session).call("GET", "/whoami")["handle"]
    writer, reader = (Machine(artifacts, service, session, name) for name in ("writer", "reader"))
    writer("workspace", "create", "notes")
    # A mount makes the workspace known to the other machine.
    reader.folder().mkdir()
    reader("mount", f"{handle}/notes", reader.folder())
    reader("unmount", reader.folder())
    folders = [_watching(machine, artifacts, stack) for machine in (writer, reader)]
    ours, theirs = folders
    waits = []
    for number in range(-5, CHANGES):
        # Some are new, some are changes of what was there.
        name = f"new{number}" if number % 2 else f"f{number + 10:04}"
        body = b"change %d" % number
        (ours / name).write_bytes(body)
        begun = time.monotonic()
        while not (theirs / name).exists() or (theirs / name).read_bytes() != body:
            if time.monotonic() - begun > 120:
                raise RuntimeError(f"{name} did not arrive within 120 s")
            time.sleep(0.002)
        # The first ones wait until both listen.
        if number >= 0:
            waits.append(1e3 * (time.monotonic() - begun))
        time.sleep(random.uniform(0.5, 1.5))
    return waits


def _watching(machine, artifacts, stack):
    """A folder that a process of its own keeps like the workspace."""
    folder = machine.home / "folder"
    folder.mkdir()
    if machine.home.name == "writer":
        for number in range(WATCHED):
            _write(folder / f"f{number:04}", b"%d" % number)
    machine("bisync", "notes", folder)
    log = open(machine.home / "watch.log", "wb")
    child = subprocess.Popen([artifacts, "bisync", "notes", folder, "--watch"], env=machine.env,
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(_stop, child)
    return folder


def _stop(child):
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=10)
    child.kill()


def measure(bench, log):
    """The document of one run."""
    bench.start_server()
    run_ = Run(bench, log)
    run_.all()
    return {
        "latencies": bench.arguments.latency, "peers": [peer.name for peer in run_.peers], "absent": run_.absent,
        "results": run_.results, "failures": run_.failures, "sizes": run_.trees.sizes,
    }


def versions():
    found = {}
    for name, command in {"rclone": ["rclone", "version"], "unison": ["unison", "-version"], "weed": ["weed", "version"]}.items():
        if shutil.which(command[0]):
            out = subprocess.run(command, capture_output=True, text=True)
            found[name] = (out.stdout or out.stderr).strip().splitlines()[0]
    return "; ".join(f"{name}: {version}" for name, version in found.items())
