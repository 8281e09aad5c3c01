"""The measures. Each takes a bench and a peer and returns {metric: value}.

A metric's unit is in METRICS; "higher is better" where the unit is a rate.
"""

import json
import mmap
import os
import random
import shutil
import statistics
import subprocess
import time

from peers import run

MIB = 1024 * 1024

# metric: (title, unit)
METRICS = {
    "ready": ("`mount` to ready", "s"),
    "write": ("sequential write of the large file to close", "MiB/s"),
    "write_bucket": ("… from open until in the bucket", "s"),
    "read_cold": ("sequential read of the large file, cold", "MiB/s"),
    "read_warm": ("sequential read of the large file, warm (median of 5 passes)", "MiB/s"),
    "rand_cold": ("random 4k read, cold", "iops"),
    "rand_warm": ("random 4k read, warm (median of 5 runs)", "iops"),
    "create": ("create 1,000 × 4 KiB", "files/s"),
    "create_bucket": ("… until in the bucket", "s"),
    "rename_dir": ("rename that directory", "s"),
    "ls_cold": ("`ls -lR` of 10,000 in 10 directories, cold", "s"),
    "ls_warm": ("`ls -lR` of 10,000 in 10 directories, warm", "s"),
    "ls_deep_cold": ("`ls -lR` of 10,000 in 5,000 directories, cold", "s"),
    "ls_deep_warm": ("`ls -lR` of 10,000 in 5,000 directories, warm", "s"),
    "stat_cold": ("stat of 10,000 by name, cold", "s"),
    "stat_warm": ("stat of 10,000 by name, warm", "s"),
    "stat_deep_cold": ("stat of 10,000 by name in 5,000 directories, cold", "s"),
    "stat_deep_warm": ("stat of 10,000 by name in 5,000 directories, warm", "s"),
    "unpack": ("unpack a tar of 2,000 files in 200 directories, with modes and times", "s"),
    "ls_unpacked": ("`ls -lR` of that, cold", "s"),
    "grep_cold": ("`grep -r` of 1,000 small files, cold", "s"),
    "grep_warm": ("`grep -r` of 1,000 small files, warm", "s"),
    "git": ("git init, add, commit, fsck of a real tree", "s"),
    "memory": ("peak memory of the mount over all of these", "MiB"),
    "memory_100k": ("peak memory with 100,000 files known", "MiB"),
}


def higher_is_better(metric):
    return metric in METRICS and METRICS[metric][1] in ("MiB/s", "iops", "files/s")


def ready(bench, peer):
    try:
        return {"ready": peer.mount("data", bench.latency)}
    finally:
        peer.unmount()


def write(bench, peer):
    prefix = bench.fresh("write")
    with bench.mounted(peer, "scratch"):
        os.mkdir(peer.root / prefix)
        path, block = peer.root / prefix / "big.bin", bench.noise
        begun = time.monotonic()
        with open(path, "wb", buffering=0) as file:
            for _ in range(bench.big_bytes // len(block)):
                file.write(block)
        closed = time.monotonic() - begun
        found = {"write": bench.big_bytes / MIB / closed}
        arrived = bench.wait_in_bucket(peer, "scratch", prefix, 1, bench.big_bytes)
        if arrived is not None:
            found["write_bucket"] = arrived - begun
        os.unlink(path)
    return found


def read(bench, peer):
    with bench.mounted(peer, "data"):
        path = peer.root / "big" / "big.bin"
        return {"read_cold": _read_rate(path), "read_warm": _warm(lambda: _read_rate(path))}


def rand(bench, peer):
    found = {}
    with bench.mounted(peer, "data"):
        found["rand_cold"] = _random_reads(bench, peer.root / "big" / "big.bin")
    with bench.mounted(peer, "data"):
        path = peer.root / "big" / "big.bin"
        _read_rate(path)
        found["rand_warm"] = _warm(lambda: _random_reads(bench, path))
    return found


def create(bench, peer):
    """Creates, waits for the bucket, and renames what was created."""
    prefix = bench.fresh("create")
    body = bench.noise[:4096]
    with bench.mounted(peer, "scratch"):
        folder = peer.root / prefix
        os.mkdir(folder)
        begun = time.monotonic()
        for i in range(1000):
            with open(folder / f"f{i:04}", "wb", buffering=0) as file:
                file.write(body)
        found = {"create": 1000 / (time.monotonic() - begun)}
        arrived = bench.wait_in_bucket(peer, "scratch", prefix, 1000, 4096 * 1000)
        if arrived is not None:
            found["create_bucket"] = arrived - begun
        renamed = peer.root / (prefix + "-renamed")
        begun = time.monotonic()
        os.rename(folder, renamed)
        seen = len(os.listdir(renamed))
        found["rename_dir"] = time.monotonic() - begun
        if seen != 1000 or folder.exists():
            raise RuntimeError(f"{seen} of 1000 files are under the new name")
    return found


def ls(bench, peer):
    with bench.mounted(peer, "data"):
        return {"ls_cold": _ls(peer.root / "many"), "ls_warm": _ls(peer.root / "many")}


def ls_deep(bench, peer):
    with bench.mounted(peer, "data"):
        return {"ls_deep_cold": _ls(peer.root / "deep"), "ls_deep_warm": _ls(peer.root / "deep")}


def stat(bench, peer):
    with bench.mounted(peer, "data"):
        names = bench.names("many")
        return {"stat_cold": _stat(peer.root, names), "stat_warm": _stat(peer.root, names)}


def stat_deep(bench, peer):
    with bench.mounted(peer, "data"):
        names = bench.names("deep")
        return {"stat_deep_cold": _stat(peer.root, names), "stat_deep_warm": _stat(peer.root, names)}


def unpack(bench, peer):
    """What LIST does not tell has to come from somewhere: modes and times of each file."""
    prefix = bench.fresh("unpack")
    with bench.mounted(peer, "scratch"):
        os.mkdir(peer.root / prefix)
        begun = time.monotonic()
        run(["tar", "-xf", bench.tar, "-C", str(peer.root / prefix)], timeout=bench.arguments.limit)
        found = {"unpack": time.monotonic() - begun}
        # Before the next mount begins with an empty cache.
        bench.wait_in_bucket(peer, "scratch", prefix, 2000, 2000 * 512)
    with bench.mounted(peer, "scratch"):
        found["ls_unpacked"] = _ls(peer.root / prefix)
    return found


def grep(bench, peer):
    with bench.mounted(peer, "data"):
        folder = peer.root / "many" / "d00"
        return {"grep_cold": _grep(folder), "grep_warm": _grep(folder)}


def git(bench, peer):
    prefix = bench.fresh("git")
    with bench.mounted(peer, "scratch"):
        folder = peer.root / prefix
        begun = time.monotonic()
        shutil.copytree(bench.source_tree, folder, copy_function=shutil.copyfile)
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        begun = time.monotonic()
        for words in (["init", "-q"], ["add", "-A"],
                      ["-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-q", "-m", "x"],
                      ["fsck", "--full", "--no-progress"]):
            run(["git", *words], cwd=folder, env=env, timeout=bench.arguments.limit)
        return {"git": time.monotonic() - begun}


def memory_100k(bench, peer):
    """Another process would carry the peak of the measures before."""
    peer.note_memory()
    before, peer.peak_kib = peer.peak_kib, 0
    with bench.mounted(peer, "known"):
        _ls(peer.root)
        _stat_all(peer.root)
        peer.note_memory()
        found = {"memory_100k": peer.peak_kib / 1024}
    peer.peak_kib = before
    return found


MEASURES = {
    "ready": ready, "ls": ls, "ls_deep": ls_deep, "stat": stat, "stat_deep": stat_deep,
    "unpack": unpack, "grep": grep, "read": read, "rand": rand, "write": write, "create": create, "git": git, "memory_100k": memory_100k,
}

# Measured in the first round and without added latency only: with some peers each takes minutes.
ONCE = {"ls_deep", "stat", "stat_deep", "unpack", "memory_100k"}


# The bare client: what the same bytes cost without any mount.

BARE = {
    "ls": "one LIST pass over 10,000 keys",
    "ls_deep": "one LIST pass over 10,000 keys",
    "grep": "s5cmd, 32 workers, 1,000 small files",
    "read": "s5cmd, the large file",
    "write": "s5cmd, the large file",
    "create": "s5cmd, 32 workers, 1,000 × 4 KiB",
}


def bare(bench, measure):
    """{metric: value} of the bare client for a measure, {} where there is none."""
    found = {}
    if measure in ("ls", "ls_deep"):
        prefix = {"ls": "many/", "ls_deep": "deep/"}[measure]
        client = bench.client(bench.latency)
        begun = time.monotonic()
        count = sum(1 for _ in client.list("data", prefix))
        found[f"{measure}_cold"] = time.monotonic() - begun
        if count < 10_000:
            raise RuntimeError(f"LIST gave {count} keys")
        return found
    if not shutil.which("s5cmd"):
        return found
    scratch = bench.work / bench.fresh("bare-local")
    scratch.mkdir()
    bench.drop_caches()
    if measure == "grep":
        found["grep_cold"] = _s5cmd(bench, "cp", "s3://data/many/d00/*", f"{scratch}/")
    elif measure == "read":
        found["read_cold"] = bench.big_bytes / MIB / _s5cmd(bench, "cp", "s3://data/big/big.bin", f"{scratch}/")
    elif measure == "write":
        seconds = _s5cmd(bench, "cp", str(bench.big_file), f"s3://scratch/{bench.fresh('bare')}/big.bin")
        found = {"write": bench.big_bytes / MIB / seconds, "write_bucket": seconds}
    elif measure == "create":
        for i in range(1000):
            (scratch / f"f{i:04}").write_bytes(bench.noise[:4096])
        seconds = _s5cmd(bench, "cp", f"{scratch}/*", f"s3://scratch/{bench.fresh('bare')}/")
        found = {"create": 1000 / seconds, "create_bucket": seconds}
    bench.discard(scratch)
    return found


def _s5cmd(bench, *words):
    env = {**os.environ, "AWS_ACCESS_KEY_ID": bench.access_key,
           "AWS_SECRET_ACCESS_KEY": bench.secret_key, "AWS_REGION": "us-east-1"}
    command = ["s5cmd", "--log", "error", "--numworkers", "32",
               "--endpoint-url", bench.endpoint(bench.latency), *words]
    begun = time.monotonic()
    run(command, env=env, timeout=bench.arguments.limit)
    return time.monotonic() - begun


def _warm(measure):
    """The median of five passes in a row: the first one over new pages costs any file system more."""
    return statistics.median(measure() for _ in range(5))


def _read_rate(path):
    block = bytearray(MIB)
    total, begun = 0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(block):
            total += n
    return total / MIB / (time.monotonic() - begun)


def _random_reads(bench, path):
    """4k reads at random aligned places for a second; fio where it is installed."""
    if shutil.which("fio"):
        answer = run(["fio", "--name=r", f"--filename={path}", "--rw=randread", "--bs=4k",
                      "--ioengine=psync", "--time_based", "--runtime=1", "--invalidate=0",
                      "--fadvise_hint=0", "--randrepeat=0", "--norandommap", "--readonly",
                      f"--size={bench.big_bytes}", "--output-format=json"], timeout=bench.arguments.limit)
        return json.loads(answer[answer.index("{"):])["jobs"][0]["read"]["iops"]
    places, buffer = bench.big_bytes // 4096, mmap.mmap(-1, 4096)
    chosen, count = random.Random(), 0
    handle = os.open(path, os.O_RDONLY)
    try:
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            for _ in range(32):
                os.preadv(handle, [buffer], chosen.randrange(places) * 4096)
            count += 32
        return count / (time.monotonic() - begun)
    finally:
        os.close(handle)


def _ls(folder):
    begun = time.monotonic()
    with open(os.devnull, "wb") as nowhere:
        subprocess.run(["ls", "-lR", str(folder)], stdout=nowhere, check=True)
    return time.monotonic() - begun


def _stat(root, names):
    begun = time.monotonic()
    for name in names:
        os.stat(root / name)
    return time.monotonic() - begun


def _stat_all(folder):
    for where, _, names in os.walk(folder):
        for name in names:
            os.stat(os.path.join(where, name))


def _grep(folder):
    begun = time.monotonic()
    done = subprocess.run(["grep", "-r", "--count", "never-there", str(folder)], capture_output=True)
    if done.returncode != 1 or done.stdout.count(b"\n") != 1000:
        raise RuntimeError(f"grep looked at {len(done.stdout.splitlines())} files: {done.stderr[:300]!r}")
    return time.monotonic() - begun
