"""The scenarios of rclone's bisync test suite that are about checks, limits, rules, previews and new beginnings, played
with `artifacts bisync`. docs/sync-scenarios.md says for each why it differs where it does.
"""

import pathlib
import re

import sync_rclone_runs
from sync_changes import change_everything, everything_is_right, nine_files
from sync_lab import DIFFERS, STOPPED, USAGE, Room, Site, acts, left_alone

room = Room()
PAGE = pathlib.Path(__file__).parents[2] / "docs/sync-scenarios.md"


@room.case
def rclone_check_access(site):
    """A folder that lost its marker, as an unmounted disk has, is not synced."""
    machine = nine_files(site)
    marker = machine.at(".artifacts/folder.json")
    kept = marker.read_bytes()
    machine.sync("--check-access")
    for _ in range(2):
        marker.unlink(missing_ok=True)
        machine.sync("--check-access", code=STOPPED).names("marker", "--resync")
    marker.write_bytes(kept)
    machine.sync("--check-access")
    marker.unlink()
    machine.sync("--resync", "--yes")
    site.settle(machine, options=["--check-access"])
    assert len(site.objects()) == 9


@room.case
def rclone_check_access_filters(site):
    """Rules cannot leave the marker out, neither to hide that it is gone nor to have it synced."""
    machine = nine_files(site)
    machine.write(".artifactsignore", "*.json\n.artifacts/\n/subdir/\n")
    machine.write("subdir/folder.json", "{}")
    machine.sync("--check-access")
    marker = machine.at(".artifacts/folder.json")
    kept = marker.read_bytes()
    marker.unlink()
    machine.sync("--check-access", code=STOPPED).names("marker")
    machine.write(".artifactsignore", "!.artifacts/\n!folder.json\n")
    machine.sync("--check-access", code=STOPPED).names("marker")
    marker.write_bytes(kept)
    machine.sync("--check-access")
    assert not [key for key in site.keys() if key.endswith("folder.json") and key != "subdir/folder.json"], "the marker is in the bucket"


@room.case
def rclone_check_filename(site):
    """The marker's name is fixed; what it says counts, so that another folder's is none."""
    machine = nine_files(site)
    machine.sync("--check-filename", ".chk_file", code=USAGE)
    other = Site(site.lab, "rclone_check_filename_other")
    elsewhere = other.machine()
    elsewhere.write("theirs", "theirs")
    elsewhere.sync()
    machine.at(".artifacts/folder.json").write_bytes(elsewhere.at(".artifacts/folder.json").read_bytes())
    machine.sync(code=STOPPED).names("another", "hint:")
    machine.sync("--resync", "--yes", code=STOPPED)
    assert len(machine.files()) == len(site.objects()) == 9


@room.case
def rclone_check_sync(site):
    """`check` says whether the sides are alike; a state that is damaged is told of, and nothing is guessed from it."""
    machine = nine_files(site)
    machine.run("bisync", "check", "notes", machine.folder)
    machine.write("file1.txt", "changed")
    site.delete("file2.txt")
    said = machine.run("bisync", "check", "notes", machine.folder, code=DIFFERS)
    said.names("file1.txt", "file2.txt")
    database, = machine.state.glob("*/sync/*.db")
    for beside in database.parent.glob(f"{database.name}-*"):
        beside.unlink()
    database.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    before = machine.files(), site.objects()
    machine.sync(code=DIFFERS).names(str(database), "hint:")
    machine.run("bisync", "check", "notes", machine.folder, code=DIFFERS).names(str(database))
    assert (machine.files(), site.objects()) == before
    machine.sync("--resync", "--yes")
    site.settle()
    kept = sorted(machine.files().values())
    assert b"changed" in kept and b"file 1\n" in kept and machine.read("file2.txt") == "file 2\n", "a new beginning deletes nothing"
    assert list(database.parent.glob("*.db*damaged*")), "the damaged state was not kept"


@room.case
def rclone_dry_run(site):
    """A preview writes nothing anywhere, shows what the run does, and stands in no later run's way."""
    machine = nine_files(site)
    change_everything(site, machine)
    before = machine.fingerprint(), site.objects(), site.keys()
    shown = machine.plan()
    machine.sync("--dry-run", "--resync")
    assert (machine.fingerprint(), site.objects(), site.keys()) == before, "a preview has written"
    done = machine.report()
    assert acts(done) == acts(shown)
    site.settle()
    everything_is_right(site, machine)


@room.case
def rclone_filters(site):
    """A rule for the root alone: the file of that name there is neither sent nor fetched."""
    machine = nine_files(site)
    machine.write(".artifactsignore", "/fileZ.txt\n")
    site.put("fileZ.txt", "there")
    machine.write("subdir/fileZ.txt", "here")
    machine.sync()
    assert not machine.at("fileZ.txt").exists() and site.get("subdir/fileZ.txt") == b"here"
    assert site.get("fileZ.txt") == b"there"


@room.case
def rclone_filtersfile_checks(site):
    """Other rules need no new beginning: what they leave out now stays on both sides, and comes back with them."""
    machine = nine_files(site)
    machine.write(".artifactsignore", "file1.txt\n")
    told = left_alone(machine.report())
    assert "prune" in told["file1.txt"], told
    machine.delete("file1.txt")
    machine.write(".artifactsignore", "file1.txt\nfile2.txt\n")
    machine.sync("--dry-run", "--resync")
    machine.sync()
    site.delete("file2.txt")
    machine.sync()
    assert site.get("file1.txt") == b"file 1\n" and machine.read("file2.txt") == "file 2\n", "what is left out was deleted"
    machine.write(".artifactsignore", "")
    site.settle()
    assert machine.read("file1.txt") == "file 1\n" and site.get("file2.txt") == b"file 2\n"


@room.case
def rclone_max_delete_path1(site):
    """Five of nine deleted here: over half, though fewer than 25."""
    machine = nine_files(site)
    machine.delete(*(f"file{number}.txt" for number in range(1, 6)))
    machine.write("new.txt", "new")
    machine.sync(code=STOPPED).names("5 in the bucket, of 9", "25 files or 50 %", "--approve-deletes")
    assert len(site.objects()) == 9, "something was changed before the stop"
    machine.sync("--max-delete", "60%")
    assert sorted(site.objects()) == ["file6.txt", "file7.txt", "file8.txt", "file9.txt", "new.txt"]
    site.settle()


@room.case
def rclone_max_delete_path2_force(site):
    """Five of nine deleted there, then approved."""
    machine = nine_files(site)
    site.delete(*(f"file{number}.txt" for number in range(1, 6)))
    machine.sync(code=STOPPED).names("5 files here", "of 9", "25 files or 50 %")
    assert len(machine.files()) == 9
    machine.sync("--approve-deletes")
    assert len(machine.files()) == 4 and len(machine.trash()) == 5
    site.settle()


@room.case
def rclone_rclone_args(site):
    """No option makes the comparison weaker; what it would be weakened to is wrong usage."""
    machine = nine_files(site)
    for option in ("--size-only", "--checksum", "--ignore-size", "--compare=size", "--no-check-sync"):
        machine.sync(option, code=USAGE)
    machine.write("file1.txt", "FILE 1\n")
    machine.write("file2.txt", "file 2\n", age=9e8)
    before = site.head("file2.txt")["ETag"]
    report = machine.report()
    assert acts(report) == [("set time in bucket", "file2.txt"), ("upload", "file1.txt")], report["plan"]["actions"]
    assert site.get("file1.txt") == b"FILE 1\n" and site.head("file2.txt")["ETag"] == before, "a time alone is no new content"


@room.case
def rclone_resync(site):
    """The first run of an empty side fills it; what differs has no winner that takes all; later an empty side stops."""
    one = site.machine()
    for number in range(1, 8):
        site.put(f"file{number}.txt", f"file {number}")
    one.sync()
    assert len(one.files()) == 7
    two = site.machine()
    for number in (1, 3, 5, 6, 7):
        two.write(f"file{number}.txt", {1: "exists", 3: "older", 5: "newer", 6: "older date"}.get(number, f"file {number}"))
    site.delete("file1.txt")
    two.sync()
    kept = sorted(body.decode() for body in two.files().values())
    assert kept == sorted(["exists", "file 2", "file 3", "older", "file 4", "file 5", "newer", "file 6", "older date", "file 7"]), kept
    one.sync()
    site.settle()
    for path in list(two.files()):
        two.delete(path)
    two.sync(code=STOPPED).names("the folder is empty", "--restore")
    assert len(site.objects()) == 10


@room.case
def rclone_resync_modes(site):
    """A new beginning settles what differs by the rule that is asked for, and keeps the other version."""
    machine = site.machine()
    for rule, wins in {"path1": "ours!", "path2": "theirs", "newer": "theirs", "older": "ours!", "larger": "theirs", "smaller": "ours!"}.items():
        machine.write(f"{rule}.txt", "before")
        machine.sync()
        machine.write(f"{rule}.txt", "ours!")
        site.put(f"{rule}.txt", "theirs")
        machine.sync("--resync", "--yes", "--conflict-resolve", rule)
        copy, = machine.copies(f"{rule}.")
        assert machine.read(f"{rule}.txt") == wins and {wins, machine.read(copy)} == {"ours!", "theirs"}, rule
    site.settle()


@room.case
def documented_scenarios_are_those_of_this_suite(site):
    """The page names each case, and no other."""
    named = set(re.findall(r"^\| `(rclone_\w+)`", PAGE.read_text(), re.MULTILINE))
    played = {case.__name__ for case in sync_rclone_runs.room.cases + room.cases if case.__name__.startswith("rclone_")}
    assert named == played, f"only on the page: {sorted(named - played)}; only played: {sorted(played - named)}"
