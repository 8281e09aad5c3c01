"""Stores, networks, keys and disks that fail in the middle: nothing is lost or cut short, nothing is deleted because
of it, and once all is well the next plain run finishes.
"""

import subprocess
import time

from sync_ill_store import Answer, Cut, a_list
from sync_lab import DONE, LATER, LEFT, LONG, NO_KEYS, STOPPED, Room, Skipped, eventually
from sync_changes import change_everything, everything_is_right, nine_files

room = Room()
FORBIDDEN = 4


def of_files(asked):
    return asked.is_write and asked.file


def fill(at):
    """Writes until nothing fits any more."""
    with open(at, "wb", buffering=0) as opened:
        for size in (65_536, 4096, 1):
            try:
                while opened.write(b"f" * size):
                    pass
            except OSError:
                pass


def many(site, count):
    machine = site.machine()
    for number in range(count):
        machine.write(f"d{number % 5}/f{number:03}", f"content {number}")
    machine.sync()
    return machine


@room.case
def a_bucket_that_turns_read_only_in_mid_pass(site, ill):
    for k in range(0, 8, 1 if LONG else 3):
        machine = nine_files(site) if not site.machines else site.machines[0]
        site.settle()
        for number in range(10):
            machine.write(f"round {k}/new {number}", f"{k} {number}")
        site.put(f"there {k}", f"{k}")
        ill.well()
        ill.refuse(of_files, 403, "AccessDenied", k)
        said = machine.sync(code=(FORBIDDEN, LEFT))
        said.names("hint:")
        assert machine.read(f"there {k}") == f"{k}", "what can be done is done"
        assert len(machine.files()) == len({**machine.files(), **site.objects()})
        ill.well()
        site.settle()
        assert len([path for path in site.objects() if path.startswith(f"round {k}/")]) == 10


@room.case
def a_bucket_that_refuses_deletions_and_copies(site, ill):
    """Rights to write but not to delete, as a careful key has."""
    machine = nine_files(site)
    change_everything(site, machine)
    machine.rename("file9.txt", "moved.txt")
    ill.refuse(lambda asked: asked.file and (asked.method == "DELETE" or asked.is_copy), 403, "AccessDenied")
    machine.sync(code=(FORBIDDEN, LEFT))
    machine.sync(code=(FORBIDDEN, LEFT))
    ill.well()
    site.settle()
    machine.rename("moved.txt", "file9.txt")
    site.settle()
    everything_is_right(site, machine)


@room.case
def lists_that_fail_are_half_or_empty_delete_nothing(site, ill):
    machine = many(site, 60)
    files = machine.files()

    def is_list(asked):
        return asked.is_list

    def half(asked, answer):
        """Cut in the middle of its bytes."""
        if asked.is_list:
            raise Cut(answer, len(answer.body) // 2)

    def one_page_of_two(asked):
        """The first page, which says that there is more, and then no more."""
        if "continuation-token" in asked.query:
            return Answer.error(500, "InternalError")
        answer = ill.pass_on(asked)
        end = answer.body.rfind(b"</Contents>", 0, len(answer.body) // 2) + len(b"</Contents>")
        body = answer.body[:end] + b"</ListBucketResult>"
        body = body.replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>")
        return Answer(200, body, answer.headers)

    ills = {
        "503": lambda: ill.refuse(is_list, 503, "SlowDown"), "500": lambda: ill.refuse(is_list, 500, "InternalError"),
        "a cut one": lambda: ill.after.append(half), "one page of two": lambda: ill.before.append(lambda asked: one_page_of_two(asked) if asked.is_list else None),
        "an empty one": lambda: ill.before.append(lambda asked: a_list([]) if asked.is_list else None),
        "no XML": lambda: ill.before.append(lambda asked: Answer(200, b"<html>a portal</html>", [("Content-Type", "text/html")]) if asked.is_list else None),
        "no bucket": lambda: ill.refuse(is_list, 404, "NoSuchBucket"),
        "nothing at all": lambda: ill.before.append(lambda asked: Answer(200, b"") if asked.is_list else None),
    }
    codes = {}
    for name, begin in ills.items():
        ill.well()
        begin()
        said = machine.sync(code=None)
        codes[name] = said.code
        assert said.code not in (DONE, LEFT), f"{name}: it ran: {said}"
        said.names("error:")
        assert machine.files() == files, f"{name}: the folder changed"
    ill.well()
    assert codes["an empty one"] == STOPPED and codes["503"] == codes["a cut one"] == LATER, codes
    assert len(site.objects()) == 60
    site.settle()
    return codes


@room.case
def lists_that_are_old_or_lack_objects_delete_nothing(site, ill):
    """Each file is asked for by name before it is deleted here."""
    machine = many(site, 60)
    old = []

    def remember(asked, answer):
        if asked.is_list:
            old.append((asked.target, answer))

    ill.after.append(remember)
    machine.sync()
    ill.well()
    remembered = dict(old)
    for number in range(15):
        machine.write(f"since/f{number}", f"since {number}")
    machine.write("d0/f000", "changed since")
    machine.sync()
    files = machine.files()
    ill.before.append(lambda asked: remembered.get(asked.target) if asked.is_list else None)
    for _ in range(2):
        machine.sync(code=(DONE, LEFT))
        assert set(machine.files()) >= set(files) and machine.read("d0/f000") == "changed since", "an old list was believed"
    ill.well()

    def without(asked, answer):
        """Every sixth object is missing."""
        if not asked.is_list:
            return None
        parts = answer.body.split(b"<Contents>")
        return Answer(200, b"<Contents>".join(part for at, part in enumerate(parts) if at % 6 != 1 or at == len(parts) - 1), answer.headers)

    ill.after.append(without)
    machine.sync(code=LEFT).names("changed meanwhile")
    assert machine.files() == files and not machine.trash(), "what a list lacks was deleted"
    ill.well()
    site.settle()
    assert machine.files() == files


@room.case
def one_busy_answer_among_many_ends_no_run(site, ill):
    """A store that says SlowDown now and then, as S3 does when a prefix grows warm."""
    machine = site.machine()
    for number in range(60):
        machine.write(f"f{number:02}", f"{number}")
    seen = []
    ill.before.append(lambda asked: seen.append(asked) or (Answer.error(503, "SlowDown") if len(seen) % 9 == 5 else None))
    machine.sync()
    ill.well()
    assert len(site.objects()) == 60
    site.settle()


@room.case
def keys_that_expire_pause_a_run_and_cut_nothing_short(site, ill):
    machine = nine_files(site)
    site.put("large", b"x" * 3_000_000)
    for k in range(0, 12, 1 if LONG else 4):
        ill.well()
        machine.write("file1.txt", f"round {k}")
        machine.write(f"new {k}", f"{k}")
        site.put("file2.txt", f"round {k}")
        files = {path: {body} for path, body in machine.files().items()}
        for path, body in site.objects().items():
            files.setdefault(path, set()).add(body)
        ill.from_the(k, lambda asked: True, lambda _: Answer.error(400, "ExpiredToken"))
        said = machine.sync(code=(DONE, NO_KEYS))
        if said.code == NO_KEYS:
            said.names("hint:")
        for path, body in machine.files().items():
            assert body in files[path], f"{path} is neither as before nor as in the bucket"
        assert not machine.half_received()
    ill.well()
    site.settle()


@room.case
def keys_that_expire_pause_a_watch(site, ill):
    machine = site.machine()
    machine.write("f", "1")
    watching = machine.watch()
    site.watched_alike(lambda: "f" in site.objects())
    ill.well()
    ill.refuse(lambda asked: True, 400, "ExpiredToken")
    machine.write("g", "2", age=0)
    time.sleep(4)
    tries = ill.count(lambda asked: True)
    assert watching.is_running() and 1 <= tries <= 12, (tries, watching.said())
    assert "g" not in site.objects()
    ill.well()
    site.watched_alike(lambda: "g" in site.objects())
    watching.stop()


@room.case
def an_answer_cut_in_the_middle_of_a_file(site, ill):
    one, other = site.two()
    one.write("f", "before" * 1000)
    one.sync()
    other.sync()
    site.put("f", b"theirs" * 200_000)

    def cut(asked, answer):
        if asked.method == "GET" and asked.file and not asked.is_list:
            raise Cut(answer, len(answer.body) // 3)

    ill.after.append(cut)
    for machine in (one, other):
        machine.sync(code=LATER).names("error:", "hint:")
        assert machine.read("f") == "before" * 1000 and not machine.half_received()
    ill.well()
    site.settle()
    assert one.read("f") == "theirs" * 200_000


@room.case
def answers_that_are_lost_are_no_conflict_with_ourselves(site, ill):
    """The store did it, and the connection ended before it said so."""
    machine = nine_files(site)
    machine.write("file1.txt", "changed")
    machine.write("new.txt", "new")
    machine.rename("file3.txt", "moved.txt")
    machine.delete("file4.txt")
    for _ in range(12):
        ill.well()
        lost = []

        def lose(asked, answer):
            if of_files(asked) and not lost:
                lost.append(asked)
                raise Cut()

        ill.after.append(lose)
        if machine.sync(code=(DONE, LATER, LEFT)).code == DONE and not lost:
            break
    ill.well()
    site.settle()
    assert not machine.copies(), machine.copies()
    assert set(site.objects()) == {"file1.txt", "file2.txt", "new.txt", "moved.txt", *(f"file{number}.txt" for number in range(5, 10))}
    assert site.get("file1.txt") == b"changed"


@room.case
def two_watches_and_a_network_that_is_cut(site, ill):
    """Both go on working meanwhile, on the same file too; afterwards both have everything."""
    one, other = site.two()
    one.write("note.md", "before")
    watches = one.watch(), other.watch()
    eventually("the note", lambda: other.at("note.md").exists())
    for turn in range(3 if LONG else 1):
        ill.away()
        one.write("note.md", f"one, {turn}")
        other.write("note.md", f"other! {turn}")
        one.write(f"by one {turn}", "1")
        other.write(f"by other {turn}", "2")
        time.sleep(3)
        assert all(watching.is_running() for watching in watches), [watching.said() for watching in watches]
        ill.back()
        # A pause after a failure is one of these seconds at most: 1, 2, 4.
        eventually("both", lambda: {f"by one {turn}", f"by other {turn}"} <= set(one.files()) & set(other.files()), 60)
        wanted = {f"one, {turn}".encode(), f"other! {turn}".encode()}
        eventually("both versions", lambda: wanted <= set(one.files().values()) and wanted <= set(other.files().values()), 60)
    for watching in watches:
        watching.stop()
    site.settle()


@room.case
def a_watch_that_starts_without_a_network_waits_for_it(site, ill):
    machine = nine_files(site)
    ill.away()
    machine.write("new", "1")
    watching = machine.watch()
    time.sleep(2.5)
    assert watching.is_running(), watching.said()
    ill.back()
    site.watched_alike(lambda: "new" in site.objects())
    watching.stop()


@room.case
def a_folder_on_a_disk_that_fills_up(site):
    """What does not fit is told; what was there stays whole; with room the next run finishes."""
    one, other = site.two()
    one.write("a small", "small")
    one.write("b edited", "before" * 100)
    one.write("c large", b"L" * 6_000_000)
    one.sync()
    other.folder.mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(other.folder)]
    mounted = subprocess.run(disk, capture_output=True, text=True)
    if mounted.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        for _ in range(2):
            said = other.sync(code=None)
            assert said.code not in (DONE, STOPPED), said
            said.names("no space left", "c large", "hint:")
            assert set(other.files()) <= {"a small", "b edited"} and not other.half_received(), (other.files().keys(), other.half_received())
        other.write("d here", "here")
        fill(other.at("fill"))
        site.put("b edited", "after" * 1000)
        before = other.files()
        other.sync(code=None)
        assert {path: body for path, body in other.files().items() if path in before and path != "b edited"} == {
            path: body for path, body in before.items() if path != "b edited"}
        assert other.files().get("b edited") in (before.get("b edited"), b"after" * 1000), "a file was cut short"
        other.delete("fill")
        if "fill" in site.objects():
            site.delete("fill")
        subprocess.run(["mount", "-o", "remount,size=64m", str(other.folder)], check=True)
        site.settle()
        assert other.read("d here") == one.read("d here") == "here"
    finally:
        subprocess.run(["umount", str(other.folder)], capture_output=True)


@room.case
def a_state_folder_on_a_disk_that_fills_up(site):
    """Nothing can be recorded: the run ends, and nothing is done twice or lost afterwards."""
    machine = nine_files(site)
    change_everything(site, machine)
    state, = machine.state.glob("*/sync")
    kept = machine.home / "kept"
    subprocess.run(["cp", "-a", str(state), str(kept)], check=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(state)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        subprocess.run(f"cp -a {kept}/. {state}/", shell=True, check=True)
        fill(state / "fill")
        said = machine.sync(code=None)
        assert said.code not in (DONE, STOPPED), said
        said.names("error:", "hint:")
        (state / "fill").unlink()
        site.settle()
        everything_is_right(site, machine)
    finally:
        subprocess.run(["umount", str(state)], capture_output=True)
