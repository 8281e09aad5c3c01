"""The pains that users of sync tools report, 15 to 24 of this project's list, each tried on the program."""

import json
import os
import shutil
import subprocess
import time

from sync_lab import DIFFERS, DONE, LATER, LONG, STOPPED, USAGE, Room, Skipped, acts, eventually, left_alone

room = Room()


def conflict(site, one, other):
    """Both machines change one file; the first is in the bucket."""
    one.write("note.md", "before")
    one.sync()
    other.sync()
    one.write("note.md", "by one")
    other.write("note.md", "by other!")
    one.sync()


@room.case
def pain_15_delete_limit_is_a_count_and_a_share_before_the_first_change(site):
    machine = site.machine()
    for number in range(200):
        machine.write(f"d{number % 4}/f{number:03}", f"{number}")
    machine.sync()
    gone = [f"d{number % 4}/f{number:03}" for number in range(40)]
    machine.delete(*gone)
    machine.write("new", "not sent either")
    for options in ((), ("--dry-run",), ("--profile", "safe"), ("--max-delete", "25"), ("--max-delete", "15%"), ("--max-delete", "39")):
        machine.sync(*options, code=STOPPED).names("40 in the bucket, of 200", "the limit is")
    machine.sync(code=STOPPED).names("25 files or 50 %")
    watching = machine.watch()
    eventually("the stop", lambda: "40 in the bucket, of 200" in watching.said())
    watching.stop()
    assert len(site.objects()) == 200, "a run changed something before it stopped"
    machine.sync("--max-delete", "40")
    assert len(site.objects()) == 161
    site.delete(*site.objects().keys() - {"new"})
    machine.sync(code=STOPPED).names("160 files here")
    assert len(machine.files()) == 161


@room.case
def pain_16_after_a_stop_deletions_are_approved_or_taken_back_and_resync_asks(site):
    machine = site.machine()
    for number in range(60):
        machine.write(f"f{number:02}", f"{number}")
    machine.sync()
    machine.delete(*(f"f{number:02}" for number in range(50)))
    said = machine.sync(code=STOPPED)
    said.names("--approve-deletes", "--restore")
    machine.sync("--restore")
    assert len(machine.files()) == len(site.objects()) == 60
    machine.delete(*(f"f{number:02}" for number in range(50)))
    said = machine.sync("--resync", code=USAGE)
    said.names("50 deleted files come back", "f00", "f19", "and 30 more", "--yes")
    assert len(machine.files()) == 10 and len(site.objects()) == 60, "it did not wait for the answer"
    machine.sync(code=STOPPED)
    # A watch waits for what somebody says by another command.
    watching = machine.watch()
    eventually("the stop", lambda: "50 in the bucket, of 60" in watching.said())
    eventually("the approval", lambda: machine.sync("--approve-deletes", code=(DONE, LATER)).code == DONE)
    assert len(machine.files()) == len(site.objects()) == 10
    machine.write("after it", "1")
    site.watched_alike(lambda: "after it" in site.objects())
    watching.stop()
    site.settle()


@room.case
def pain_17_a_preview_leaves_no_state_behind(site):
    machine = site.machine()
    machine.write("f", "1")
    site.put("g", "2", Metadata={"mtime": "1700000000"})
    before = machine.fingerprint(), site.keys()
    machine.sync("--dry-run")
    machine.sync("--dry-run", "--resync")
    machine.run("bisync", "check", "notes", machine.folder, code=DIFFERS)
    assert (machine.fingerprint(), site.keys()) == before, "before the first run"
    machine.sync()
    machine.write("f", "changed")
    site.delete("g")
    before = machine.fingerprint(), site.keys()
    for options in (("--dry-run",), ("--dry-run", "--resync"), ("--dry-run", "--profile", "safe")):
        machine.sync(*options)
    machine.run("bisync", "check", "notes", machine.folder, code=DIFFERS)
    assert machine.status()["healthy"] and "is synced" in machine.why("f")
    assert (machine.fingerprint(), site.keys()) == before, "after it"
    report = machine.report()
    assert acts(report) == [("delete here", "g"), ("upload", "f")], report["plan"]
    site.settle()


@room.case
def pain_18_first_runs_and_sides_that_are_empty(site):
    both = site.machine()
    both.sync()
    site.settle()
    both.write("f", "1")
    both.write("g", "2")
    both.sync()
    fresh = site.machine()
    fresh.sync()
    assert fresh.files() == {"f": b"1", "g": b"2"}, "an empty folder is filled"
    fresh.delete("f", "g")
    fresh.sync(code=STOPPED).names("the folder is empty, and had 2 files", "--restore")
    fresh.sync("--restore")
    site.delete("f", "g")
    both.sync(code=STOPPED).names("the bucket is empty, and had 2 files")
    both.sync("--restore")
    site.settle()
    both.sync()
    away = both.home / "away"
    both.folder.rename(away)
    both.folder.mkdir()
    both.sync(code=STOPPED).names("marker")
    both.folder.rmdir()
    shutil.copytree(away, both.folder, symlinks=True)
    both.sync(code=STOPPED).names("another directory", "--resync")
    both.sync("--resync", "--yes")
    site.settle()
    assert len(site.objects()) == 2


@room.case
def pain_18_a_disk_that_is_not_mounted(site):
    machine = site.machine()
    machine.folder.mkdir()
    with_disk = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(machine.folder)], capture_output=True, text=True)
    if with_disk.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {with_disk.stderr.strip()}")
    try:
        machine.write("f", "1")
        machine.write("g", "2")
        machine.sync()
        subprocess.run(["umount", str(machine.folder)], check=True)
        for _ in range(2):
            machine.sync(code=STOPPED).names("marker", "is a disk not mounted?")
        watching = machine.watch()
        eventually("the refusal", lambda: "is a disk not mounted?" in watching.said())
        watching.stop()
        assert site.objects() == {"f": b"1", "g": b"2"}
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(machine.folder)], check=True)
        machine.sync(code=STOPPED).names("marker")
        assert not list(machine.folder.iterdir()) and site.objects() == {"f": b"1", "g": b"2"}
    finally:
        subprocess.run(["umount", str(machine.folder)], capture_output=True)


@room.case
def pain_19_conflicts_are_listed_shown_and_settled(site):
    one, other = site.two()
    for keep, kept in (("mine", {"note.md": b"by other!"}), ("theirs", {"note.md": b"by one"}), ("both", None)):
        conflict(site, one, other)
        report = other.report("--conflict-resolve", "path2")
        assert report["plan"]["counts"]["conflicts"] == 1, report["plan"]["counts"]
        listed = json.loads(one.run("conflicts", "list", "notes", "--format", "json").out)
        copy, = [found["copy"]["path"] for found in listed]
        one.run("conflicts", "show", "notes", copy).names("note.md")
        one.run("conflicts", "resolve", "notes", copy, "--keep", keep)
        one.sync()
        other.sync()
        site.settle()
        if kept is None:
            assert sorted(one.files().values()) == [b"by one", b"by other!"] and not one.copies(), one.files()
        else:
            assert one.files() == kept, (keep, one.files())
    assert json.loads(one.run("conflicts", "list", "notes", "--format", "json").out) == []


@room.case
def pain_20_every_command_means_the_same_by_a_rule(site):
    """What `git check-ignore` says of the same lines, `why`, the preview, the run, `check` and the other machine do."""
    one, other = site.two()
    root, nested = "*.log\n!keep.log\n/build/\nd/*/deep\n**/tmp\n# no rule\n\\#odd\nsp ace \nx[0-9]\n", "!*.log\nown\n"
    paths = ["a.log", "keep.log", "build/out", "sub/build/out", "d/e/deep", "d/deep", "d/e/f/deep", "tmp", "a/tmp/b", "#odd", "sp ace", "x1", "xa",
             "nested/a.log", "nested/own", "nested/x/own", "own", "plain.md"]
    for path in paths:
        one.write(path, path)
    one.write(".artifactsignore", root)
    one.write("nested/.artifactsignore", nested)
    mirror = site.work / "git"
    for path in paths:
        (mirror / path).parent.mkdir(parents=True, exist_ok=True)
        (mirror / path).write_text("")
    (mirror / ".gitignore").write_text(root)
    (mirror / "nested/.gitignore").write_text(nested)
    subprocess.run(["git", "init", "-q", str(mirror)], check=True)
    asked = subprocess.run(["git", "-C", str(mirror), "-c", "core.excludesFile=", "check-ignore", "--no-index", "-z", "--stdin"], input="\0".join(paths),
                           capture_output=True, text=True)
    out = set(asked.stdout.rstrip("\0").split("\0"))
    assert 5 < len(out) < len(paths) - 3, out
    taken = {".artifactsignore", "nested/.artifactsignore", *paths} - out
    shown = {act["path"] for act in one.plan()["plan"]["actions"] if act["action"] == "upload"}
    assert shown == taken, shown ^ taken
    one.sync()
    assert set(site.objects()) == taken
    for path in paths:
        said = one.why(path)
        assert ("is left out" in said) == (path in out), said
    one.run("bisync", "check", "notes", one.folder)
    other.sync()
    assert set(other.files()) == taken
    # A file that is left out only now: both copies stay, which is told with the command that ends it.
    one.write(".artifactsignore", root + "plain.md\n")
    assert "artifacts bisync prune" in left_alone(one.report())["plain.md"]
    other.sync()
    assert "plain.md" in other.files() and site.get("plain.md") == b"plain.md"
    one.run("bisync", "prune", "notes", one.folder, code=USAGE).names("plain.md")
    one.run("bisync", "prune", "notes", one.folder, "--yes")
    assert "plain.md" not in site.objects() and "plain.md" in site.trash()
    other.sync()
    assert one.read("plain.md") == other.read("plain.md") == "plain.md"


@room.case
def pain_22_edits_that_keep_size_and_time_are_sent(site):
    """At once after the run, and later; by a write in place, by a rename over it, and by times put back."""
    one, other = site.two()
    one.write("in place", "one")
    one.write("by rename", "one")
    one.sync()
    for number, body in enumerate(("two", "six", "ten")):
        seen = one.at("in place").stat()
        with open(one.at("in place"), "r+") as opened:
            opened.write(body)
        os.utime(one.at("in place"), ns=(seen.st_atime_ns, seen.st_mtime_ns))
        new = one.at("new")
        new.write_text(body)
        seen = one.at("by rename").stat()
        os.utime(new, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        new.rename(one.at("by rename"))
        one.sync()
        assert site.objects() == {"in place": body.encode(), "by rename": body.encode()}, site.objects()
    other.sync()
    site.settle()


@room.case
def pain_22_bytes_stay_as_they_are(site):
    """Line ends, nothing at all, marks of encodings, and every byte there is."""
    one, other = site.two()
    bodies = {"crlf.txt": b"a\r\nb\r\n", "mixed.txt": b"a\nb\r\nc\r", "empty": b"", "bom.txt": b"\xef\xbb\xbfx\r\n", "utf16": "x\r\n".encode("utf-16"),
              "all bytes": bytes(range(256)) * 300, "zip.zip": b"PK\x05\x06" + bytes(18), "page.html": b"<html>\r\n", "x.gz": b"\x1f\x8b\x08\x00"}
    for path, body in bodies.items():
        one.write(path, body)
    one.sync()
    other.sync()
    assert other.files() == site.objects() == bodies
    assert not any("ContentEncoding" in site.head(path) for path in bodies)
    site.settle()


@room.case
def pain_22_clocks_that_are_wrong_lose_nothing(site):
    """Files of 1970 and of a time to come, by machines that do not agree what time it is."""
    one, other = site.two()
    ages = {"1970": time.time() - 1, "2100": time.time() - 4_102_444_800, "a day ahead": -86_400, "before 1970": time.time() + 86_400}
    for path, age in ages.items():
        one.write(path, path, age=age)
        one.write(f"both {path}", "before", age=age)
    one.sync()
    other.sync()
    site.settle()
    for path in ages:
        assert abs(other.at(path).stat().st_mtime - one.at(path).stat().st_mtime) < 0.001, path
    for path, age in ages.items():
        one.write(f"both {path}", f"one {path}", age=age)
        other.write(f"both {path}", f"other {path}!", age=-age)
        other.write(path, f"edited {path}", age=age)
    one.sync()
    other.sync()
    site.settle()
    kept = {body.decode() for body in one.files().values()}
    assert {f"{who} {path}{mark}" for path in ages for who, mark in (("one", ""), ("other", "!"))} <= kept, kept
    assert {f"edited {path}" for path in ages} <= kept


@room.case
def pain_23_one_process_has_a_pair_and_exit_codes_are_true(site):
    machine = site.machine()
    machine.write("f", "1")
    watching = machine.watch()
    eventually("the first file", lambda: "f" in site.objects())
    machine.sync(code=LATER).names("is syncing this folder", str(watching.child.pid))
    second = machine.watch()
    assert second.ended() == LATER and watching.is_running(), second.said()
    machine.run("bisync", "check", "notes", machine.folder)
    site.put("g", "2")
    eventually("a change there", lambda: machine.at("g").exists())
    watching.stop()
    machine.delete("g")
    machine.run("bisync", "check", "notes", machine.folder, code=DIFFERS).names("g")
    machine.sync()
    machine.run("bisync", "check", "notes", machine.folder)
    # A process that was killed holds nothing.
    watching = machine.watch()
    eventually("its lock", lambda: "is kept like" in watching.said())
    machine.sync(code=LATER)
    watching.kill()
    machine.sync()


@room.case
def pain_23_a_watch_waits_longer_each_time_and_its_trouble_is_shown(site, ill):
    machine = site.machine()
    machine.write("f", "1")
    watching = machine.watch()
    eventually("the first file", lambda: "f" in site.objects())
    ill.well()
    ill.refuse(lambda asked: asked.is_list, 503, "SlowDown")
    machine.write("g", "2", age=0)
    seconds = 12 if LONG else 6
    time.sleep(seconds)
    # A run asks a few times; pauses between runs grow from a second.
    runs, tries = watching.said().count("error:"), ill.count(lambda asked: asked.is_list)
    assert 1 <= runs <= 4 and tries <= 6 * runs + 6, f"{tries} tries in {runs} runs"
    assert watching.is_running(), watching.said()
    status = machine.status()
    assert not status["healthy"] and status["last_error"]["code"] == "store-busy" and status["last_success"], status
    ill.well()
    eventually("its recovery", lambda: "g" in site.objects())
    eventually("no trouble any more", lambda: machine.status()["healthy"])
    watching.stop()
    return f"{tries} tries in {runs} runs in {seconds} s"


@room.case
def pain_24_renames_send_nothing(site, ill):
    """Fifty files of a directory that got another name: copied inside the store, renamed on the other machine."""
    one, other = site.two()
    for number in range(50):
        one.write(f"old name/d{number % 3}/f{number}", f"{number}" * 10_000)
    one.sync()
    other.sync()
    inodes = {other.at(f"old name/d{number % 3}/f{number}").stat().st_ino for number in range(50)}
    ill.well()
    one.rename("old name", "new name")
    report = one.report()
    assert report["plan"]["counts"]["moved"] == 50 and report["plan"]["counts"]["upload"]["files"] == 0, report["plan"]["counts"]
    sent = sum(len(asked.body) for asked in ill.asked if asked.method == "PUT" and asked.file)
    assert sent == 0 and ill.count(lambda asked: asked.is_copy and asked.file) == 50, sent
    ill.well()
    other.sync()
    assert ill.count(lambda asked: asked.method == "GET" and asked.file and not asked.is_list) == 0, "a renamed file was fetched"
    assert {other.at(f"new name/d{number % 3}/f{number}").stat().st_ino for number in range(50)} == inodes
    assert not other.at("old name").exists() and not other.trash()
    site.settle()
