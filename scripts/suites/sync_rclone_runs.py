"""The scenarios of rclone's bisync test suite that are about what a run carries, played with `artifacts bisync`: what
each is about, with our outcome. docs/sync-scenarios.md says for each why it differs where it does.
"""

import hashlib
import threading
import time

from sync_changes import change_everything, everything_is_right, nine_files
from sync_lab import DONE, LEFT, STOPPED, Room, by_aws_cli, left_alone, same_folders

room = Room()


@room.case
def rclone_all_changed(site):
    """Every file has another time, then every file another content."""
    one, other = site.two()
    for number in range(30):
        one.write(f"d{number % 3}/file{number}", f"file {number}")
    one.sync()
    other.sync()
    before = {key: site.head(key)["ETag"] for key in site.objects()}
    for path, body in one.files().items():
        one.write(path, body, age=9e8)
    one.sync()
    assert {key: site.head(key)["ETag"] for key in site.objects()} == before, "a time alone is no new content"
    for path, body in one.files().items():
        one.write(path, body + b" changed")
    one.sync()
    other.sync()
    site.settle()
    assert all(body.endswith(b" changed") for body in other.files().values())
    assert sorted(other.trash().values()) == sorted(b"file %d" % number for number in range(30)), "the other's former versions"


@room.case
def rclone_backupdir(site):
    """What a run replaces or deletes lies in a trash of its own side, and comes back with undo."""
    machine = nine_files(site)
    change_everything(site, machine)
    machine.sync()
    assert machine.trash() == {"file1.txt": b"file 1\n", "file3.txt": b"file 3\n"}, machine.trash()
    assert site.trash() == {"file4.txt": b"file 4\n"}, site.trash()
    said = machine.run("bisync", "undo", "notes", machine.folder)
    said.names("file1.txt", "file3.txt", "file4.txt")
    assert (machine.read("file1.txt"), machine.read("file3.txt"), site.get("file4.txt")) == ("file 1\n", "file 3\n", b"file 4\n")
    site.settle()


@room.case
def rclone_basic(site):
    machine = nine_files(site)
    site.put("file1.txt", "newer there")
    machine.write("subdir/file20.txt", "newer here")
    machine.sync()
    assert machine.read("file1.txt") == "newer there" and site.get("subdir/file20.txt") == b"newer here"
    by_aws_cli(site, site.work / "by-aws")
    same_folders(machine.folder, site.work / "by-aws")
    site.settle()


@room.case
def rclone_changes(site):
    machine = nine_files(site)
    change_everything(site, machine)
    report = machine.report()
    assert report["plan"]["counts"]["conflicts"] == 1 and report["plan"]["counts"]["deleted_here"] == 1, report["plan"]["counts"]
    site.settle()
    everything_is_right(site, machine)


@room.case
def rclone_compare_all(site):
    """A change that keeps size and time is one; so is one that keeps the size alone."""
    machine = nine_files(site)
    time.sleep(0.05)
    seen = machine.at("file1.txt").stat()
    machine.write("file1.txt", "FILE 1\n", age=time.time() - seen.st_mtime)
    machine.write("file2.txt", "FILE 2\n")
    site.put("file3.txt", "FILE 3\n")
    machine.sync()
    assert site.get("file1.txt") == b"FILE 1\n" and site.get("file2.txt") == b"FILE 2\n" and machine.read("file3.txt") == "FILE 3\n"
    site.settle()


@room.case
def rclone_concurrent(site, ill):
    """Somebody writes there in the very moment before our upload, and here before our download takes its place."""
    machine = nine_files(site)
    machine.write("file1.txt", "ours")
    site.put("file2.txt", "theirs")
    ill.once(lambda asked: asked.method == "PUT" and asked.key.endswith("file1.txt"), lambda _: site.put("file1.txt", "theirs, a moment before"))
    ill.once(lambda asked: asked.method == "GET" and asked.key.endswith("file2.txt"), lambda _: machine.write("file2.txt", "ours, a moment before"))
    machine.sync(code=(DONE, LEFT))
    site.settle()
    kept = sorted(body.decode() for path, body in machine.files().items() if path.startswith(("file1.", "file2.")))
    assert kept == ["ours", "ours, a moment before", "theirs", "theirs, a moment before"], kept


@room.case
def rclone_createemptysrcdirs(site):
    """Empty directories are always carried, and so is their end."""
    one, other = site.two()
    one.write("file1.txt", "1")
    one.at("subdir/inner").mkdir(parents=True)
    one.sync()
    other.sync()
    assert other.at("subdir/inner").is_dir()
    other.at("subdir/inner").rmdir()
    other.at("subdir").rmdir()
    other.sync()
    one.sync()
    assert not one.at("subdir").exists()
    site.settle()
    assert not [key for key in site.keys() if key.startswith("subdir")]


@room.case
def rclone_equal(site):
    """Both sides changed to the same is no conflict, and nothing is moved."""
    machine = nine_files(site)
    machine.write("file1.txt", "ours")
    site.put("file1.txt", "theirs")
    machine.write("file2.txt", "the same on both sides")
    site.put("file2.txt", "the same on both sides")
    report = machine.report()
    assert [act["path"] for act in report["plan"]["actions"]] == ["file1.txt"], report["plan"]["actions"]
    site.settle()
    assert len(machine.copies("file1.")) == 1 and not machine.copies("file2.")


@room.case
def rclone_extended_char_paths(site):
    """Folder and prefix of such names."""
    strange = "測試Русский  ěáñ"
    machine = site.machine(folder=strange)
    machine.write("測試_file1p1", "here")
    machine.write("dir ě/測試 file", "here too")
    machine.sync()
    site.put("測試_file1p2", "there")
    machine.sync("--check-access")
    assert machine.read("測試_file1p2") == "there" and site.get("dir ě/測試 file") == b"here too"
    machine.write(".artifactsignore", "測試_ignored *\n")
    machine.write("測試_ignored ěáñ", "")
    machine.sync()
    assert "is left out" in machine.why("測試_ignored ěáñ")
    assert "測試_ignored ěáñ" not in site.objects()
    machine.at(".artifacts/folder.json").unlink()
    machine.sync(code=STOPPED).names("marker")


@room.case
def rclone_extended_filenames(site):
    """Names of any characters that both sides can hold; one that is not UTF-8 is told, and stays."""
    one, other = site.two()
    names = ["Русский.txt", "file_enconde_mañana_funcionará.txt", "file1_with white space.txt", "subdir_with_ࢺ_/file_with_測試_.txt",
             "subdir with\nwhite space.txt/file2 with\nwhite space.txt", "tab\there", "subdir_rawchars_\x19_\x81/file3_\x19_\x81", "👸🏼🧝🏾‍♀️", "a%2Fb+c&d=e?f#g",
             'quote"\'<>|*', "-n", "~", "$HOME", "{a,b}"]
    for name in names:
        one.write(name, name)
    raw = bytes(one.folder) + b"/subdir_rawchars_\xfe"
    with open(raw, "wb") as opened:
        opened.write(b"not UTF-8")
    report = one.report()
    assert any("UTF-8" in reason for reason in left_alone(report).values()), left_alone(report)
    site.put("subdir_with_ࢺ_/filename_contains_ࢺ_p2s.txt", "there")
    one.sync()
    other.sync()
    assert {path: body.decode() for path, body in other.files().items()} == {**{name: name for name in names}, "subdir_with_ࢺ_/filename_contains_ࢺ_p2s.txt": "there"}
    with open(raw, "rb") as opened:
        assert opened.read() == b"not UTF-8"
    other.delete(*other.files())
    other.sync("--approve-deletes")
    one.sync("--approve-deletes")
    assert not other.files() and list(one.files().values()) == [b"not UTF-8"]


@room.case
def rclone_ignorelistingchecksum(site):
    """An ETag is trusted as a hash only where it is one: a multipart object is compared byte for byte."""
    machine, body = site.machine(), hashlib.sha256(b"seed").digest() * 200_000
    machine.write("big", body)
    machine.write("other", body)
    for key, content in (("big", body), ("other", body[:-1] + b"x")):
        upload = site.s3.create_multipart_upload(Bucket=site.bucket, Key=site.prefix + key)["UploadId"]
        parts = []
        for number, at in enumerate(range(0, len(content), 5 << 20), 1):
            part = site.s3.upload_part(Bucket=site.bucket, Key=site.prefix + key, UploadId=upload, PartNumber=number, Body=content[at : at + (5 << 20)])
            parts.append({"ETag": part["ETag"], "PartNumber": number})
        site.s3.complete_multipart_upload(Bucket=site.bucket, Key=site.prefix + key, UploadId=upload, MultipartUpload={"Parts": parts})
    before = site.head("big")["ETag"]
    report = machine.report()
    assert [act["path"] for act in report["plan"]["actions"]] == ["other"], report["plan"]["actions"]
    assert site.head("big")["ETag"] == before and len(machine.copies("other")) == 1
    site.settle()


@room.case
def rclone_nomodtime(site):
    """The same as `changes`, with one and the same time on every file."""
    machine = nine_files(site)
    change_everything(site, machine)
    for path, body in machine.files().items():
        machine.write(path, body, age=time.time() - 1_000_000_000)
    machine.sync("--conflict-resolve", "path1")
    site.settle()
    everything_is_right(site, machine)


@room.case
def rclone_normalization(site):
    """Composed and decomposed, upper and lower: different names, both kept, and told."""
    one, other = site.two()
    one.write("éééö.txt", "composed")
    one.write("HeLlO,wOrLd!.txt", "mixed")
    site.put("e\u0301e\u0301e\u0301o\u0308.txt", "decomposed")
    site.put("hello,WORLD!.txt", "other")
    told = {warning["name"] for warning in one.report()["plan"]["warnings"]}
    assert len(told) == 4, told
    other.sync()
    assert sorted(body.decode() for body in other.files().values()) == ["composed", "decomposed", "mixed", "other"]
    other.write("éééö.txt", "composed, changed")
    site.settle()
    assert one.read("e\u0301e\u0301e\u0301o\u0308.txt") == "decomposed" and one.read("éééö.txt") == "composed, changed"


@room.case
def rclone_resolve(site):
    """Each rule, the version that keeps the name, and the other one kept beside it, in every case."""
    machine = site.machine()
    rules = {"none": "theirs", "newer": "theirs", "older": "ours!", "larger": "theirs", "smaller": "ours!", "path1": "ours!", "path2": "theirs"}
    for rule in rules:
        machine.write(f"{rule}.txt", "before")
    machine.sync()
    for rule, wins in rules.items():
        machine.write(f"{rule}.txt", "ours!")
        site.put(f"{rule}.txt", "theirs")
    for rule, wins in rules.items():
        # One by one: a run settles all conflicts by one rule.
        machine.write(".artifactsignore", "*.txt\n" + "".join(f"!{done}.txt\n!{done}.conflict-*\n" for done in list(rules)[: list(rules).index(rule) + 1]))
        machine.sync("--conflict-resolve", rule)
        copy, = machine.copies(f"{rule}.")
        assert machine.read(f"{rule}.txt") == wins and {machine.read(f"{rule}.txt"), machine.read(copy)} == {"ours!", "theirs"}, rule
    machine.write("newer.txt", "ours, at this time", age=-5)
    site.put("newer.txt", "theirs, before")
    machine.sync("--profile", "fast")
    assert machine.read("newer.txt") == "ours, at this time" and b"theirs, before" in site.trash().values(), "fast keeps the loser in the trash"
    site.settle()


@room.case
def rclone_rmdirs(site):
    """A directory whose last file was deleted stays, empty, until somebody removes it: then it goes on both sides."""
    one, other = site.two()
    one.write("file1.txt", "1")
    one.write("subdir/file20.txt", "20")
    one.sync()
    other.sync()
    one.delete("subdir/file20.txt")
    one.sync()
    other.sync()
    assert other.at("subdir").is_dir() and not other.at("subdir/file20.txt").exists()
    one.at("subdir").rmdir()
    one.sync()
    other.sync()
    assert not other.at("subdir").exists()
    site.settle()


@room.case
def rclone_volatile(site):
    """Fifty files are made, and some changed and deleted, while runs go on."""
    machine = nine_files(site)
    done = threading.Event()

    def work():
        try:
            for number in range(50):
                machine.write(f"made/file{number}.txt", f"made {number}", age=0)
                machine.write("file5.txt", f"changed {number}", age=0)
                if number % 5 == 0:
                    site.put(f"there/file{number}.txt", f"there {number}")
                if number % 10 == 9:
                    machine.delete(f"made/file{number - 5}.txt")
                time.sleep(0.02)
        finally:
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.is_set():
        machine.sync("--profile", "fast", code=(DONE, LEFT))
    worker.join()
    site.settle(options=["--profile", "fast"])
    files = machine.files()
    assert files["file5.txt"] == b"changed 49" and not machine.copies(), sorted(files)
    assert len(files) == 9 + 45 + 10, len(files)
