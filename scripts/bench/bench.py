#!/usr/bin/env python3
"""Measures a mount of ours beside others on the same SeaweedFS, in one run, alternating.

Every measure of every round visits all peers before the next; a cold measure begins with an
empty cache folder, a fresh mount and (as root) an empty page cache. See --help.
"""

import argparse
import collections
import contextlib
import datetime
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import keys
import measures
import orchestrator
import vault
import peers
import report
import sync
from s3 import S3


# How often each program gives its keys: a run takes milliseconds.
KEY_ROUNDS = 40
# What has a report of its own.
APART = ("keys", "orchestrator", "vault", "sync")
# What is measured of two-way sync.
SYNCED = ("small", "big", "known", "watch")


class Bench:
    """The server, the data, and what measures need."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.latency = 0
        self.begun = time.monotonic()
        self.big_bytes = arguments.big_mib * measures.MIB
        self.noise = os.urandom(measures.MIB)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="artifacts-bench-", dir=arguments.work))
        self.children, self.proxies, self.counter = [], {}, 0
        self.has_100k = False
        self.mount_options = {}

    def start_server(self):
        ready = self._child("seaweedfs", "--bucket", "data", "--bucket", "scratch", "--bucket", "known",
                            "--data", str(self.work / "weed"))
        self.access_key, self.secret_key = ready["access_key_id"], ready["secret_access_key"]
        self.direct = ready["endpoint"]
        self.s3 = self.client(0)

    def endpoint(self, latency):
        if latency == 0:
            return self.direct
        if latency not in self.proxies:
            address = self.direct.removeprefix("http://")
            ready = self._child("proxy", "--to", address, "--latency-ms", str(latency))
            self.proxies[latency] = ready["endpoint"]
        return self.proxies[latency]

    def client(self, latency):
        return S3(self.endpoint(latency), self.access_key, self.secret_key)

    def _child(self, *words):
        ready = self.work / f"ready-{len(self.children)}.json"
        child = subprocess.Popen([self.arguments.testkit, *words, "--ready-file", str(ready)],
                                 stdin=subprocess.DEVNULL)
        self.children.append(child)
        deadline = time.monotonic() + 60
        while not ready.exists():
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"artifacts-testkit {words[0]} did not come up")
            time.sleep(0.02)
        return json.loads(ready.read_text())

    def make_data(self):
        """The trees, once as local files: the ext4 of the comparison and the upload's source."""
        source = self.work / "source"
        text = b"".join(b"line %d of a small file, not long\n" % i for i in range(18))[:600]
        for d in range(10):
            (source / "many" / f"d{d:02}").mkdir(parents=True)
            for f in range(1000):
                (source / "many" / f"d{d:02}" / f"f{f:04}.txt").write_bytes(b"%d/%d\n" % (d, f) + text)
        for d in range(5000):
            folder = source / "deep" / f"{d // 100:02}" / f"d{d:04}"
            folder.mkdir(parents=True)
            for name in ("a", "b"):
                (folder / name).write_bytes(b"%d\n" % d)
        (source / "big").mkdir()
        self.big_file = source / "big" / "big.bin"
        with open(self.big_file, "wb") as file:
            for _ in range(self.arguments.big_mib):
                file.write(os.urandom(measures.MIB))
        self.source = source
        self.source_tree = self._source_tree()
        self.tar = self._tar()

    def _tar(self):
        """2,000 small files in 200 directories, each with a mode and a time of its own."""
        path = self.work / "unpack.tar"
        with tarfile.open(path, "w") as tar:
            for d in range(200):
                for f in range(10):
                    entry = tarfile.TarInfo(f"d{d:03}/f{f}")
                    entry.size, entry.mode, entry.mtime = 512, (0o640, 0o600)[f % 2], 1_500_000_000 + d * 10 + f
                    tar.addfile(entry, io.BytesIO(self.noise[:512]))
        return path

    def names(self, tree):
        """The paths of a tree's files, in the order of their names."""
        return sorted(str(path.relative_to(self.source)) for path in (self.source / tree).rglob("*") if path.is_file())

    def _source_tree(self):
        """A published crate of some hundred files, as cargo unpacked it."""
        home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        found = sorted(home.glob("registry/src/*/tokio-1.*"))
        if not found:
            raise RuntimeError("no unpacked tokio in cargo's registry folder; run cargo build first")
        return found[-1]

    def upload(self):
        self._s5cmd_upload(self.source, "data")
        count, _ = self.s3.total("data")
        if count < 20_001:
            raise RuntimeError(f"{count} objects in the bucket, expected 20,001")

    def upload_100k(self):
        if self.has_100k:
            return
        folder = self.work / "known"
        for d in range(100):
            (folder / f"d{d:03}").mkdir(parents=True)
            for f in range(1000):
                (folder / f"d{d:03}" / f"a-file-with-a-usual-name-{f:05}.txt").write_bytes(b"%d" % f)
        self._s5cmd_upload(folder, "known")
        self.discard(folder)
        self.has_100k = True

    def _s5cmd_upload(self, folder, bucket):
        env = {**os.environ, "AWS_ACCESS_KEY_ID": self.access_key,
               "AWS_SECRET_ACCESS_KEY": self.secret_key, "AWS_REGION": "us-east-1"}
        peers.run(["s5cmd", "--log", "error", "--endpoint-url", self.direct, "cp",
                   f"{folder}/", f"s3://{bucket}/"], env=env, timeout=3600)

    def fill(self, peer):
        """Peers with a format of their own get the data through their mount, once."""
        if peer.own_format:
            peer.mount("data", 0)
            shutil.copytree(self.source, peer.root, dirs_exist_ok=True, copy_function=shutil.copyfile)
            peer.unmount()

    @contextlib.contextmanager
    def mounted(self, peer, bucket):
        """A cold mount, ended in good order."""
        peer.mount(bucket, self.latency)
        yield
        peer.unmount()

    def discard(self, folder):
        """Puts a folder away. Many files are only deleted at the end of the run: an ext4
        without a journal is slow to create files for minutes after it deleted many, and the
        next measure would pay for it."""
        if sum(len(files) for _, _, files in os.walk(folder)) < 200:
            shutil.rmtree(folder)
        else:
            folder.rename(self.work / self.fresh("discarded"))

    def fresh(self, name):
        self.counter += 1
        return f"{name}-{self.counter:04}"

    def wait_in_bucket(self, peer, bucket, prefix, count, size):
        """When the bucket held exactly so much, on the monotonic clock; None where it never
        holds files as objects."""
        deadline = time.monotonic() + self.arguments.limit
        while True:
            found = peer.in_bucket(bucket, prefix + "/")
            if found is None:
                return None
            if found == (count, size):
                return time.monotonic()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the bucket holds {found}, expected {(count, size)}")
            time.sleep(0.02)

    def drop_caches(self):
        if os.geteuid() == 0:
            os.sync()
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")

    def end(self):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=20)
            child.kill()
        if not self.arguments.keep:
            shutil.rmtree(self.work, ignore_errors=True)


class TimedOut(Exception):
    """A measure did not end."""


class OutOfTime(Exception):
    """The run was given so many minutes."""


def within(limit, function):
    """Runs a measure in a thread, so that a peer that hangs does not end the run."""
    box = {}

    def inner():
        try:
            box["value"] = function()
        except Exception as error:  # what a peer fails with is a result
            box["error"] = error

    thread = threading.Thread(target=inner, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise TimedOut(f"no end after {limit} s")
    if "error" in box:
        raise box["error"]
    return box["value"]


def main():
    arguments = parse()
    results = {str(ms): collections.defaultdict(lambda: collections.defaultdict(list)) for ms in arguments.latency}
    failures, absent, chosen = [], {}, []
    waits = measure_keys(arguments, failures) if arguments.keys else {}
    if arguments.orchestrator:
        measure_load("orchestrator", orchestrator, report.ORCHESTRATOR, arguments)
    if arguments.vault:
        measure_load("vault", vault, report.VAULT, arguments)
    if arguments.sync:
        measure_sync(arguments)
    if not arguments.only and not arguments.keys:
        return
    bench = Bench(arguments)
    try:
        if arguments.only:
            chosen = prepare(bench, absent)
        for number in range(arguments.rounds):
            for latency in arguments.latency:
                bench.latency = latency
                one_round(bench, chosen, number, results[str(latency)], failures)
    except (KeyboardInterrupt, OutOfTime) as reason:
        log(f"{reason or 'interrupted'}; what was measured is reported")
    finally:
        # Over all rounds and latencies, so it stands in the first table only.
        for peer in chosen:
            if peer.peak_kib:
                results[str(arguments.latency[0])][peer.name]["memory"].append(peer.peak_kib / 1024)
        for peer in chosen:
            peer.abandon()
        about = describe(bench)
        bench.end()
    document = {
        "about": about, "latencies": arguments.latency, "absent": absent, "failures": failures,
        "peers": [p.name for p in chosen] + ["bare"], "results": results, "keys": waits,
    }
    write_out(arguments, document)


def prepare(bench, absent):
    """Starts the server, makes the data, and gives the peers that can be measured here."""
    log("starting SeaweedFS and making the data")
    bench.start_server()
    bench.make_data()
    bench.upload()
    chosen = []
    for kind in peers.ALL:
        if kind.name in bench.arguments.peers:
            try:
                peer = kind(bench)
                peer.prepare()
                bench.fill(peer)
                chosen.append(peer)
            except (peers.Absent, RuntimeError, OSError) as reason:
                absent[kind.name] = str(reason)
                log(f"absent: {kind.name}: {reason}")
    return chosen


def measure_keys(arguments, failures):
    log(f"{KEY_ROUNDS} rounds of tools that wait for their keys")
    try:
        found, absent = keys.measure(arguments.artifacts, KEY_ROUNDS)
    except (RuntimeError, OSError) as error:
        failures.append(f"keys: {error}")
        return {}
    failures.extend(f"keys: {name}: {reason}" for name, reason in absent.items())
    return found


def measure_load(name, module, section, arguments):
    """A report of its own, which has its place in docs/benchmarks.md beside that of the mounts."""
    log(f"the {name} under load, {arguments.rounds} rounds")
    found, failures = module.measure(arguments, arguments.rounds, arguments.seconds, log)
    about = machine(arguments)
    about["versions"] = module.versions()
    write_section(name, section, {"about": about, "figures": found, "failures": failures}, arguments)


def measure_sync(arguments):
    """The same for two-way sync, beside others."""
    log(f"two-way sync, {arguments.rounds} rounds")
    bench = Bench(arguments)
    try:
        found = sync.measure(bench, log)
    finally:
        bench.end()
    about = machine(arguments)
    about["versions"] = sync.versions()
    write_section("sync", report.SYNC, {"about": about, **found}, arguments)


def write_section(name, section, document, arguments):
    text = section.text(document)
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / f"{name}.md").write_text(text)
    if arguments.write_docs:
        page = pathlib.Path("docs/benchmarks.md")
        page.write_text(section.put(page.read_text(), text))
    print(text)


def one_round(bench, chosen, number, results, failures):
    first = number == 0 and bench.latency == bench.arguments.latency[0]
    for measure in bench.arguments.only:
        if measure in measures.ONCE and not first:
            continue
        if measure == "memory_100k":
            bench.upload_100k()
        # Another peer goes first in every round.
        order = chosen[number % len(chosen):] + chosen[:number % len(chosen)] if chosen else []
        for peer in order:
            if measure == "memory_100k" and peer.own_format:
                continue
            label = f"round {number + 1}, {bench.latency} ms, {measure}, {peer.name}"
            attempt(bench, label, lambda: measures.MEASURES[measure](bench, peer),
                    results[peer.name], failures, peer.abandon)
        if not bench.arguments.no_bare:
            label = f"round {number + 1}, {bench.latency} ms, {measure}, bare"
            attempt(bench, label, lambda: measures.bare(bench, measure), results["bare"], failures,
                    lambda: None)


def attempt(bench, label, function, into, failures, on_failure):
    limit = bench.arguments.limit
    if bench.arguments.minutes and time.monotonic() > bench.begun + bench.arguments.minutes * 60:
        raise OutOfTime(f"{bench.arguments.minutes} minutes are over")
    try:
        found = within(limit, function)
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:300]
        failures.append(f"{label}: {first}")
        log(f"{label}: FAILED: {error}")
        on_failure()
        return
    for metric, value in found.items():
        into[metric].append(value)
    if found:
        log(f"{label}: " + ", ".join(f"{m} {v:.3f} {measures.METRICS[m][1]}" for m, v in found.items()))


def machine(arguments):
    """The machine, the date, the command: without them a figure says nothing."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) // (1024 * 1024)
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    load = os.getloadavg()
    goes_first = os.sched_getscheduler(0) == os.SCHED_FIFO
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} × {model}, {memory} GiB, Linux {platform.release()}",
        "load at the end": f"{load[0]:.1f} (1 min), {load[2]:.1f} (15 min)"
        + (", most of it by others, before whom this went (chrt --fifo)" if goes_first else ""),
        "revision": revision.stdout.strip() or "unknown",
        "command": "make bench BENCH=\"" + " ".join(arguments.words) + "\"",
    }


def describe(bench):
    return {
        **machine(bench.arguments),
        "large file": f"{bench.arguments.big_mib} MiB",
        "page cache": "dropped before cold measures" if os.geteuid() == 0 else "NOT dropped (not root)",
        "random reads by": "fio" if shutil.which("fio") else "a Python loop, which costs more than a cached read",
        "versions": "; ".join(f"{n}: {v}" for n, v in peers.versions().items()),
    }


def write_out(arguments, document):
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    text = report.markdown(document)
    (out / "bench.md").write_text(text)
    if arguments.write_docs:
        page = pathlib.Path("docs/benchmarks.md")
        page.write_text(report.with_sections_of(text, page.read_text()))
    print(text)
    log(f"written: {out}/bench.json, {out}/bench.md" + (", docs/benchmarks.md" if arguments.write_docs else ""))


def parse():
    names = list(dict.fromkeys([kind.name for kind in peers.ALL] + sync.NAMES))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", required=True, help="our program (a release build)")
    parser.add_argument("--artifactsd", required=True, help="our server (a release build)")
    parser.add_argument("--testkit", required=True, help="artifacts-testkit (a release build)")
    parser.add_argument("--load", required=True, help="artifacts-load (a release build)")
    parser.add_argument("--only", default=",".join([*measures.MEASURES, *APART]), help="measures: %(default)s")
    parser.add_argument("--peers", default=",".join(names), help="of: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", default="0,20", help="milliseconds added to every request")
    parser.add_argument("--limit", type=float, default=180, help="seconds that one measure may take")
    parser.add_argument("--minutes", type=float, help="end after so long with what was measured")
    parser.add_argument("--seconds", type=int, default=8, help="of requests in one measure of the orchestrator and the vault")
    parser.add_argument("--big-mib", type=int, default=256, help="size of the large file")
    parser.add_argument("--sync", default=",".join(SYNCED), help="of sync: %(default)s")
    parser.add_argument("--files", type=int, default=10_000, help="small files that are synced")
    parser.add_argument("--known", type=int, default=100_000, help="files of a pass with nothing to do")
    parser.add_argument("--no-bare", action="store_true", help="leave the bare client out")
    parser.add_argument("--out", default="target/bench", help="folder for bench.json and bench.md")
    parser.add_argument("--write-docs", action="store_true", help="also write docs/benchmarks.md")
    parser.add_argument("--work", default=None, help="where data and caches go (default: TMPDIR)")
    parser.add_argument("--keep", action="store_true", help="keep the working folder")
    arguments = parser.parse_args()
    arguments.words = sys.argv[9:]
    arguments.only = chosen(parser, "--only", arguments.only, [*measures.MEASURES, *APART])
    arguments.keys, arguments.orchestrator, arguments.vault, is_sync = (name in arguments.only for name in APART)
    arguments.sync = chosen(parser, "--sync", arguments.sync, SYNCED) if is_sync else []
    arguments.only = [measure for measure in arguments.only if measure not in APART]
    arguments.peers = chosen(parser, "--peers", arguments.peers, names)
    arguments.latency = [int(ms) for ms in arguments.latency.split(",")]
    return arguments


def chosen(parser, option, text, known):
    words = text.split(",")
    for word in words:
        if word not in known:
            parser.error(f"{option}: {word!r} is none of {', '.join(known)}")
    return words


def log(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
