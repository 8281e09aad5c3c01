"""Programs at work in a synced folder while `--watch` runs: how Obsidian and vim save, what git does, and files of a
size that nobody waits for.
"""

import json
import os
import shutil
import subprocess
import threading
import time

from sync_lab import DONE, LEFT, LONG, Room, Skipped, eventually

room = Room()


def stop(*watches):
    for watching in watches:
        watching.stop()


def make_sparse(at, size):
    """Bytes at its beginning, middle and end."""
    with open(at, "wb") as opened:
        opened.truncate(size)
        opened.write(b"begins")
        opened.seek(size // 2 + 123)
        opened.write(b"middle")
        opened.seek(size - 4)
        opened.write(b"ends")
    os.utime(at, (1e9, 1e9))


@room.case
def obsidian_saves_by_renames_several_times_a_second(site):
    """Notes by temporary file and rename; .obsidian/workspace.json written anew all the time; attachments in between."""
    one, other = site.two()
    one.write(".obsidian/app.json", "{}")
    one.write(".obsidian/workspace.json", "{}")
    for number in range(5):
        one.write(f"notes/note {number}.md", f"# {number}\n")
    watches = one.watch(), other.watch()
    site.watched_alike(lambda: len(other.files()) == 7)
    seconds = 60 if LONG else 5
    written, until, saves = {}, time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number = saves % 5
        note, body = one.at(f"notes/note {number}.md"), f"# {number}\n" + "typed " * saves
        temporary = note.with_name(f".{note.name}.tmp-{saves}")
        temporary.write_text(body)
        temporary.rename(note)
        written[f"notes/note {number}.md"] = body
        state = json.dumps({"main": {"active": f"note {number}.md", "saves": saves, "pad": "x" * (saves % 50)}})
        one.at(".obsidian/workspace.json").write_text(state)
        written[".obsidian/workspace.json"] = state
        if saves % 7 == 0:
            one.at(f"attachment {saves}.png").write_bytes(os.urandom(20_000))
        saves += 1
        time.sleep(0.12)
    site.watched_alike(lambda: all(other.read(path) == body for path, body in written.items()))
    stop(*watches)
    site.settle()
    assert not one.copies() and not [path for path in other.files() if ".tmp-" in path], sorted(other.files())
    return f"{saves} saves"


@room.case
def obsidian_on_two_machines_at_one_time(site):
    """Both write their own notes and the same workspace.json: nothing but that file may have copies."""
    one, other = site.two()
    one.write(".obsidian/workspace.json", "{}")
    watches = one.watch(), other.watch()
    site.watched_alike(lambda: len(other.files()) == 1)

    def work(machine):
        for number in range(60 if LONG else 20):
            temporary = machine.at(f".{machine.name}.tmp")
            temporary.write_text(f"{machine.name} {number}")
            temporary.rename(machine.at(f"{machine.name} {number % 4}.md"))
            machine.at(".obsidian/workspace.json").write_text(f"{machine.name} {number}")
            time.sleep(0.12)

    workers = [threading.Thread(target=work, args=[machine]) for machine in (one, other)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    site.watched_alike(lambda: len([path for path in one.files() if path.endswith(".md")]) == 8)
    stop(*watches)
    site.settle()
    last = 59 if LONG else 19
    files = {path: body.decode() for path, body in one.files().items()}
    for machine in (one, other):
        for number in range(last - 3, last + 1):
            assert files[f"{machine.name} {number % 4}.md"] == f"{machine.name} {number}", files
    assert {f"{one.name} {last}", f"{other.name} {last}"} <= set(files.values()), "a last state of workspace.json is lost"
    assert all(path.startswith(".obsidian/workspace.conflict-") for path in one.copies()), one.copies()


@room.case
def vim_saves_with_backup_and_swap_file(site):
    """The real one: swap file, the probe named 4913, backup beside it, rename or copy."""
    if not shutil.which("vim"):
        raise Skipped("vim is not installed")
    one, other = site.two()
    one.write("note.md", "first\n")
    watches = one.watch(), other.watch()
    site.watched_alike(lambda: other.read("note.md") == "first\n")
    typed, ways = ["first"], ["nobackup writebackup backupcopy=no", "backup backupcopy=no", "backup backupcopy=yes", "nobackup nowritebackup"]
    for number in range(24 if LONG else 8):
        line = f"line {number}"
        script = [f"set {way}" if way else "" for way in [ways[number % len(ways)], "swapfile directory=. updatecount=1"]]
        done = subprocess.run(["vim", "-N", "-u", "NONE", "-i", "NONE", "-es", *(word for command in script for word in ("-c", command)),
                               "-c", f"normal Go{line}", "-c", "sleep 60m", "-c", "wq", str(one.at("note.md"))],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**one.env, "TERM": "dumb"}, timeout=60)
        typed.append(line)
        assert one.read("note.md") == "\n".join(typed) + "\n", (done.returncode, done.stderr, one.read("note.md"))
        time.sleep(0.15)
    site.watched_alike(lambda: other.read("note.md") == "\n".join(typed) + "\n")
    stop(*watches)
    site.settle()
    assert set(other.files()) <= {"note.md", "note.md~"}, sorted(other.files())


@room.case
def git_works_in_a_synced_folder(site):
    """Commits, branches, a merge and gc; whenever it is quiet, both folders are whole repositories."""
    one, other = site.two()
    one.folder.mkdir()
    watches = one.watch("--max-delete", "5000"), other.watch("--max-delete", "5000")

    def git(*words, at=one):
        env = {**at.env, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        # No command here may write the index of the folder that only follows.
        done = subprocess.run(["git", "--no-optional-locks", "-C", str(at.folder), *words], capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, f"git {' '.join(words)}: {done.stdout[-300:]} {done.stderr[-300:]}"
        return done.stdout

    def quiet():
        site.watched_alike(lambda: other.at(".git/HEAD").exists())
        for machine in (one, other):
            git("fsck", "--strict", "--full", "--no-dangling", at=machine)
        assert git("rev-parse", "HEAD") == git("rev-parse", "HEAD", at=other)
        assert git("log", "--format=%H %s", "--all") == git("log", "--format=%H %s", "--all", at=other)

    git("init", "-q", "-b", "main")
    git("config", "gc.auto", "0")
    for number in range(30 if LONG else 8):
        one.at(f"file{number % 5}.txt").write_text(f"content {number}\n" * 50)
        git("add", "-A")
        git("commit", "-q", "-m", f"commit {number}")
    quiet()
    git("checkout", "-q", "-b", "side", "HEAD~3")
    one.at("side.txt").write_text("on the side\n")
    git("add", "-A")
    git("commit", "-q", "-m", "side")
    git("checkout", "-q", "main")
    git("merge", "-q", "-m", "merged", "side")
    quiet()
    git("gc", "-q", "--prune=now")
    git("checkout", "-q", "side")
    git("checkout", "-q", "main")
    quiet()
    assert other.read("side.txt") == "on the side\n"
    stop(*watches)
    site.settle(options=["--max-delete", "5000"])
    assert not one.copies() and not other.copies(), one.copies()


@room.case
def a_log_that_grows_while_it_is_sent(site):
    """Larger than what is sent from memory; each run sends what was there, and the last one all of it."""
    one, other = site.two()
    one.folder.mkdir()
    with open(one.at("log"), "ab", buffering=0) as log:
        lines = 0
        for _ in range(6):
            run = one.start("--profile", "fast")
            while run.poll() is None:
                log.write(b"%020d\n" % lines * 20_000)
                lines += 1
                time.sleep(0.05)
            assert run.returncode in (DONE, LEFT), run.returncode
    os.utime(one.at("log"), (1e9, 1e9))
    site.settle()
    assert not one.copies() and len(other.read("log")) == lines * 20_000 * 21
    return f"{lines * 420_000 >> 20} MiB"


@room.case
def directories_are_renamed_while_runs_go_on(site):
    one, other = site.two()
    for number in range(60):
        one.write(f"tree 0/d{number % 6}/f{number}", f"{number}")
    one.sync()
    for turn in range(40 if LONG else 8):
        run = one.start("--max-delete", "1000")
        time.sleep(0.01 * (turn % 7))
        one.rename(f"tree {turn}", f"tree {turn + 1}")
        assert run.wait() in (DONE, LEFT)
        if turn % 3 == 2:
            other.sync("--max-delete", "1000", code=(DONE, LEFT))
    site.settle(options=["--max-delete", "1000"])
    assert sorted(int(body) for body in one.files().values()) == list(range(60)), sorted(one.files())


@room.case
def other_tools_write_to_the_bucket_and_a_mount_is_on_it(site):
    """rclone with its times and links, the AWS command line, and a mount of the same workspace."""
    one, other = site.two()
    one.write("from here", "here")
    one.sync()
    source = site.work / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/by rclone").write_text("by rclone")
    os.utime(source / "d/by rclone", (1_234_567_890, 1_234_567_890))
    (source / "link").symlink_to("d/by rclone")
    rclone = {"PATH": os.environ["PATH"], "HOME": str(site.work), "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other",
              "RCLONE_CONFIG_S_ENDPOINT": site.lab.endpoint, "RCLONE_CONFIG_S_REGION": "us-east-1", "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true",
              "RCLONE_CONFIG_S_ACCESS_KEY_ID": site.lab.facts["access_key"], "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": site.lab.facts["secret_key"]}
    to = f"s:{site.bucket}/{site.prefix}"
    subprocess.run(["rclone", "copy", "--links", str(source), to], check=True, env=rclone, timeout=60)
    one.sync()
    assert one.read("d/by rclone") == "by rclone" and one.at("d/by rclone").stat().st_mtime == 1_234_567_890
    assert os.readlink(one.at("link")) == "d/by rclone"
    subprocess.run(["rclone", "check", "--download", "--links", "--exclude", "/.artifacts/**", str(one.folder), to], check=True, env=rclone, timeout=60)
    mnt = other.home / "mnt"
    mnt.mkdir()
    other.run("mount", "notes", mnt)
    try:
        (mnt / "by mount").write_text("by mount")
        (mnt / "run.sh").write_text("#!/bin/sh\n")
        (mnt / "run.sh").chmod(0o755)
        (mnt / "hollow").mkdir()
        (mnt / "to here").symlink_to("from here")
        (mnt / "from here").rename(mnt / "d/moved")
        other.run("flush", mnt)
        one.sync()
        assert one.read("by mount") == "by mount" and one.read("d/moved") == "here" and os.readlink(one.at("to here")) == "from here"
        assert one.at("hollow").is_dir() and os.access(one.at("run.sh"), os.X_OK) and not one.at("from here").exists()
        one.write("by mount", "changed here")
        one.delete("d/moved")
        one.sync()
        eventually("the mount sees it", lambda: (mnt / "by mount").read_text() == "changed here" and not (mnt / "d/moved").exists(), 90)
    finally:
        other.run("unmount", mnt)
    site.settle(one)


@room.case
def a_large_sparse_file_arrives_as_it_is(site):
    one, other = site.two()
    size = 40 << 20
    one.folder.mkdir()
    make_sparse(one.at("sparse"), size)
    one.sync()
    assert site.head("sparse")["ContentLength"] == size
    other.sync()
    site.must_be_alike()
    assert not other.half_received()
    with open(one.at("sparse"), "r+b") as opened:
        opened.seek(size // 3)
        opened.write(b"changed")
    os.utime(one.at("sparse"), (1.1e9, 1.1e9))
    one.sync()
    other.sync()
    site.settle()
    one.rename("sparse", "d/moved")
    report = one.report()
    assert report["plan"]["counts"]["moved"] == 1, report["plan"]["counts"]
    other.sync()
    site.must_be_alike()


@room.case
def a_file_of_five_gib_arrives_as_it_is(site):
    size = 5 << 30
    if not LONG:
        raise Skipped("it takes minutes and 15 GiB of disk: the long form has it")
    if shutil.disk_usage(site.work).free < 3 * size:
        raise Skipped(f"{3 * size >> 30} GiB of disk are not free")
    one, other = site.two()
    one.folder.mkdir()
    make_sparse(one.at("sparse"), size)
    one.sync()
    other.sync()
    assert site.head("sparse")["ContentLength"] == size and not other.half_received()
    site.must_be_alike()
