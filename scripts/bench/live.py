"""How soon a mount shows what another has uploaded: to a program that asks, and to one that
watches. Both mounts, the orchestrator and the store are on this machine."""

import contextlib
import ctypes
import os
import pathlib
import select
import statistics
import time

from service import run

CHANGES = 200
# Longer than a mount takes to find out that somebody watches.
UNTIL_WATCHED = 7
# inotify(7)
IN_MODIFY, IN_CLOSE_WRITE, IN_CREATE = 0x2, 0x8, 0x100


class Machine:
    """A home folder of its own, with the token of a session."""

    def __init__(self, artifacts, service, session, name):
        self.artifacts = artifacts
        self.home = service.folder / name
        self.home.mkdir(parents=True)
        self.env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.home),
            "ARTIFACTS_TOKEN": session, "ARTIFACTS_ORCHESTRATOR_URL": service.url,
        }

    def __call__(self, *words):
        return run([self.artifacts, *words], env=self.env)

    def folder(self):
        return self.home / "mnt"


def measure(service, artifacts, session, number):
    """Milliseconds from when a file's `close` returns under the profile `safe`, which is when
    the object is in the bucket, until another mount shows it."""
    name = f"live-{number}"
    writer, reader = (Machine(artifacts, service, session, f"{name}-{who}") for who in ("writer", "reader"))
    try:
        writer("workspace", "create", name)
        handle = service.client(session).call("GET", "/whoami")["handle"]
        writer("mount", name, writer.folder(), "--profile", "safe")
        reader("mount", f"{handle}/{name}", reader.folder())
        return _waits(writer.folder(), reader.folder())
    finally:
        for machine in (writer, reader):
            with contextlib.suppress(RuntimeError):
                machine("unmount", "--no-wait", machine.folder())


def _waits(ours, theirs):
    (ours / "d").mkdir()
    (ours / "d" / "first").write_text("x")
    _until(lambda: (theirs / "d" / "first").exists(), 30)
    os.listdir(theirs / "d")
    watch = _watch(theirs / "d")
    time.sleep(UNTIL_WATCHED)
    asked, told = [], []
    for number in range(CHANGES):
        (ours / "d" / f"f{number}").write_text("x" * 100)
        moment = time.monotonic()
        seen, event = _see(theirs / "d" / f"f{number}", watch, moment)
        asked.append(1e3 * seen)
        told.append(1e3 * event)
    os.close(watch)
    rank = lambda values: sorted(values)[max(0, -(-99 * len(values) // 100) - 1)]
    return {
        "live_stat_p50": statistics.median(asked), "live_stat_p99": rank(asked),
        "live_inotify_p50": statistics.median(told), "live_inotify_p99": rank(told),
    }


def _see(path, watch, moment):
    """When the file is there for who asks, and when inotify has named it."""
    seen = event = None
    name = path.name.encode() + b"\0"
    while seen is None or event is None:
        now = time.monotonic() - moment
        if now > 30:
            raise RuntimeError(f"{path} was not shown within 30 s")
        if event is None and select.select([watch], [], [], 0.001)[0] and name in os.read(watch, 1 << 16):
            event = time.monotonic() - moment
        if seen is None and path.exists():
            seen = time.monotonic() - moment
    return seen, event


def _watch(folder):
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE) < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return descriptor


def _until(so, limit):
    deadline = time.monotonic() + limit
    while not so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {limit} s")
        time.sleep(0.02)
