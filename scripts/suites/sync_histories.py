"""Random histories of three machines on the real program, real folders and a real store: users work, then some
machines sync at one time, some are killed in the middle. At quiet all are alike, and every content that a user wrote,
and that nobody overwrote or deleted while seeing it, is there.
"""

import ctypes
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sync_lab import DONE, LEFT, LONG, Room, Site

room = Room()
SEED = int(os.environ.get("SYNC_SEED", "0")) or time.time_ns() % 1_000_000
# Few, so that users meet; files that are others' directories, and names that a store may order otherwise.
NAMES = ["a", "b", "c.md", "a/x", "d/a", "d/b", "d/e/a", "d.md", "d-e", "d", "f/y.md"]
KILLED = -9


class History:
    def __init__(self, site, seed):
        self.site, self.dice = site, random.Random(seed)
        self.machines = [site.machine() for _ in range(3)]
        self.alive, self.written, self.trace = {}, 0, []
        # One of three histories has a machine whose conflicts end in the trash.
        self.profiles = [self.dice.choice(["safe", "balanced"]) for _ in self.machines]
        if self.dice.randrange(3) == 0:
            self.profiles[self.dice.randrange(3)] = "fast"
        for machine in self.machines:
            machine.folder.mkdir()

    def options(self, machine):
        return ["--approve-deletes", "--profile", self.profiles[self.machines.index(machine)]]

    def play(self, rounds):
        for _ in range(rounds):
            for _ in range(self.dice.randrange(9)):
                self.user(self.dice.choice(self.machines))
            self.sync([machine for machine in self.machines if self.dice.random() < 0.7])
        self.site.settle(options=["--approve-deletes"], rounds=20)
        self.nothing_is_lost()

    def nothing_is_lost(self):
        kept = set(self.machines[0].files().values())
        if "fast" in self.profiles:
            for place in (*self.machines, self.site):
                kept |= {body for _, body in place.trashed()}
        lost = {body: origin for body, origin in self.alive.items() if body not in kept}
        assert not lost, f"lost with {self.profiles}: {lost}"

    def sync(self, machines):
        """All of them at one time, some of them not to the end."""
        runs = [(machine, machine.start(*self.options(machine), log=machine.home / ".run.log"), self.dice.random() < 0.25) for machine in machines]
        for machine, run, is_killed in runs:
            if is_killed:
                time.sleep(self.dice.uniform(0, 0.1))
                run.kill()
            code = run.wait(120)
            self.trace.append(f"{machine.name} ends with {code}")
            assert code in (DONE, LEFT, KILLED), f"{machine.name} ends with {code}: {(machine.home / '.run.log').read_text()[-800:]}"

    def user(self, machine):
        name, there = self.dice.choice(NAMES), sorted(machine.files())
        known = self.dice.choice(there) if there else name
        what = self.dice.randrange(20)
        try:
            if what < 7:
                self.save(machine, name)
            elif what < 11:
                self.save(machine, known)
            elif what < 14 and there:
                self.let_go(machine, known)
                machine.delete(known)
            elif what < 17 and there and known != name:
                self.let_go(machine, name)
                machine.rename(known, name)
            elif what == 17:
                machine.at(name).mkdir()
            elif what == 18:
                machine.at(name).rmdir()
            else:
                return
        except OSError:
            # A directory is there, or a file is above: then nothing was done.
            return
        self.trace.append(f"{machine.name} does {what} to {known}, {name}")

    def save(self, machine, name):
        at = machine.at(name)
        if at.is_dir() and not at.is_symlink():
            return
        self.written += 1
        body = f"{self.written:06}"
        if self.dice.random() < 0.1:
            at.parent.mkdir(parents=True, exist_ok=True)
            new = at.with_name(f".{self.written}.tmp")
            new.symlink_to(body)
            self.let_go(machine, name)
            new.replace(at)
        else:
            at.parent.mkdir(parents=True, exist_ok=True)
            self.let_go(machine, name)
            at.unlink(missing_ok=True)
            machine.write(name, body, age=self.dice.choice([3600, 7200, 60]))
        self.alive[body.encode()] = f"{name} by {machine.name}"

    def let_go(self, machine, name):
        """Somebody sees this, and does not want it any more."""
        at = machine.at(name)
        if os.path.lexists(at) and not (at.is_dir() and not at.is_symlink()):
            body = os.readlink(at).encode() if at.is_symlink() else at.read_bytes()
            self.alive.pop(body, None)


def play(lab, seed, rounds):
    site = Site(lab, f"history-{seed}")
    history = History(site, seed)
    try:
        history.play(rounds)
    except Exception as error:
        raise AssertionError(f"SYNC_SEED={seed}: {error}; {history.trace[-40:]}") from error
    finally:
        site.end()


@room.case
def random_histories_of_three_machines_end_alike_and_lose_nothing(site):
    count, rounds = (150, 12) if LONG else (4, 6)
    seeds = [SEED + number for number in range(count)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: play(site.lab, seed, rounds), seeds))
    return f"{count} histories from seed {SEED}"


class Watched(History):
    """The same while watches run on all machines, are killed and started again, and lose the network. Users replace
    and delete files in one step each, and so know exactly what they let go."""

    def play(self, seconds):
        # A side that is suddenly empty would stop a watch.
        self.site.put("kept", "by nobody")
        for machine in self.machines:
            machine.sync()
        self.lock, self.until = threading.Lock(), time.monotonic() + seconds
        watches = [machine.watch(*self.options(machine)) for machine in self.machines]
        users = [threading.Thread(target=self.work, args=[machine, random.Random(self.dice.random())]) for machine in self.machines]
        for user in users:
            user.start()
        while time.monotonic() < self.until:
            time.sleep(self.dice.uniform(0.2, 1.5))
            what, which = self.dice.randrange(4), self.dice.randrange(3)
            if what == 0:
                watches[which].kill()
                watches[which] = self.machines[which].watch(*self.options(self.machines[which]))
            elif what == 1:
                self.site.store.away()
                time.sleep(self.dice.uniform(0.1, 1))
                self.site.store.back()
        for user in users:
            user.join()
        self.site.watched_alike(seconds=120)
        for watching in watches:
            watching.stop()
        self.site.settle(options=["--approve-deletes"])
        self.nothing_is_lost()

    def options(self, machine):
        return ["--max-delete", "1000", "--profile", self.profiles[self.machines.index(machine)]]

    def work(self, machine, dice):
        (machine.home / "hands").mkdir()
        while time.monotonic() < self.until:
            time.sleep(dice.choice([0, 0.01, 0.1, 0.5]))
            at, number = machine.at(dice.choice(NAMES)), dice.random()
            try:
                if number < 0.7:
                    self.replace(machine, at)
                elif number < 0.9:
                    self.take_away(machine, at)
                elif number < 0.95:
                    at.mkdir()
                else:
                    at.rmdir()
            except OSError:
                # A directory is there, a file is above, or somebody was faster.
                continue

    def hand(self, machine):
        with self.lock:
            self.written += 1
            return machine.home / "hands" / f"{self.written:06}"

    def replace(self, machine, at):
        new = self.hand(machine)
        body = new.name.encode()
        if at.is_dir() and not at.is_symlink():
            return
        at.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(body)
        with self.lock:
            # Somebody may see it, and let it go, before the call has returned.
            self.alive[body] = f"{at.name} by {machine.name}"
            self.trace.append(f"{machine.name} writes {body} to {at.name}")
        there = os.path.lexists(at)
        try:
            _rename(new, at, EXCHANGE if there else NOREPLACE)
        except OSError:
            with self.lock:
                del self.alive[body]
            raise
        if not there:
            return
        if new.is_dir() and not new.is_symlink():
            # A directory was made there in this moment. What is under the name by now may be another's already.
            _rename(new, at.with_name(f"{at.name} {new.name}"), NOREPLACE)
            return
        self.forget(new)

    def take_away(self, machine, at):
        if at.is_dir() and not at.is_symlink():
            return
        old = self.hand(machine)
        _rename(at, old, NOREPLACE)
        if old.is_dir() and not old.is_symlink():
            _rename(old, at, NOREPLACE)
            return
        self.forget(old)

    def forget(self, old):
        body = os.readlink(old).encode() if old.is_symlink() else old.read_bytes()
        with self.lock:
            self.alive.pop(body, None)
            self.trace.append(f"{old.parent.parent.name} lets {body} go")


NOREPLACE, EXCHANGE, AT_FDCWD = 1, 2, -100
_libc = ctypes.CDLL(None, use_errno=True)


def _rename(one, other, flags):
    if _libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


@room.case
def histories_under_watches_that_are_killed_and_cut_off_lose_nothing(site):
    for number in range(20 if LONG else 1):
        play_watched(site.lab, SEED + number, 40 if LONG else 6)
    return f"from seed {SEED}"


def play_watched(lab, seed, seconds):
    site = Site(lab, f"watched-{seed}", ill=True)
    history = Watched(site, seed)
    try:
        history.play(seconds)
    except Exception as error:
        raise AssertionError(f"{error}; {history.trace[-60:]}") from error
    finally:
        site.end()
