"""Names that one side, or another system, cannot hold: told, kept where they are, never written over another file and
never outside of the folder. SeaweedFS keeps objects as files and takes not every key, so that keys which no folder
can hold are put into moto, which takes any.
"""

import os
import socket
import subprocess
import sys
import unicodedata

from sync_ill_store import a_list
from sync_lab import DONE, LEFT, Room, Site, eventually, left_alone

room = Room()


def on_moto(case):
    """A case whose bucket takes any key."""

    def with_moto(lab):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = lab.work / case.__name__
        folder.mkdir()
        with open(folder / "moto.log", "wb") as log:
            server = subprocess.Popen([f"{os.path.dirname(sys.executable)}/moto_server", "-H", "127.0.0.1", "-p", str(port)],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        endpoint = f"http://127.0.0.1:{port}"
        site = None
        try:
            eventually("moto", lambda: _answers(port))
            site = Site(lab, case.__name__, endpoint=endpoint, bucket="any-key")
            site.s3.create_bucket(Bucket="any-key")
            return case(site)
        finally:
            if site:
                site.end()
            server.kill()
            server.wait()

    with_moto.__name__ = case.__name__
    room.cases.append(with_moto)
    return with_moto


def _answers(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def outside(machine):
    """Everything beside the synced folder that is not the program's own."""
    return sorted(entry.name for entry in machine.home.iterdir() if not entry.name.startswith(".") and entry.name != machine.folder.name)


@room.case
def pain_22_the_longest_names_and_odd_ends(site):
    one, other = site.two()
    names = ["n" * 255, "é" * 127 + "x", "d" * 255 + "/" + "f" * 255 + "/" + "g" * 255, "dot.", "dots...", " space first", "space last ", ". .", "...", " ",
             "dir. /in it", "CON", "nul.txt", "com1", ".rclonelink"]
    for name in names:
        one.write(name, name)
    report = one.report()
    assert not report["result"]["failed"], report["result"]
    other.sync()
    assert {path: body.decode() for path, body in other.files().items()} == {name: name for name in names}
    for name in names:
        other.write(name, f"{name}, changed")
    other.sync()
    one.sync()
    site.settle()
    assert all(body.decode() == f"{path}, changed" for path, body in one.files().items())


@room.case
def pain_22_paths_too_long_for_a_key_are_told_and_stay(site):
    machine = site.machine()
    deep = "/".join("d" * 200 for _ in range(5))
    machine.write(f"{deep}/{'f' * 100}", "too deep")
    machine.write("fine", "1")
    report = machine.report()
    told = left_alone(report)
    assert any(name.startswith(deep) and "too long" in reason for name, reason in told.items()), told
    machine.sync(code=(DONE, LEFT))
    assert machine.read(f"{deep}/{'f' * 100}") == "too deep" and site.get("fine") == b"1"


@room.case
def pain_22_names_that_differ_by_case_or_form_are_two_files(site):
    one, other = site.two()
    names = ["Note.md", "note.md", "NOTE.MD", "straße", "STRASSE", unicodedata.normalize("NFC", "é/ö.md"), unicodedata.normalize("NFD", "é/ö.md"), "ﬁ", "fi"]
    for name in names:
        one.write(name, name)
    warned = {warning["name"] for warning in one.report()["plan"]["warnings"]}
    assert {"Note.md", "note.md", "NOTE.MD", names[5], names[6]} <= warned, warned
    other.sync()
    assert {path: body.decode() for path, body in other.files().items()} == {name: name for name in names}
    other.delete("Note.md")
    other.write("note.md", "changed")
    site.settle()
    assert "Note.md" not in one.files() and one.read("note.md") == "changed" and one.read("NOTE.MD") == "NOTE.MD"


@room.case
def pain_22_links_are_carried_and_never_followed(site):
    """Out of the folder, to nothing, to itself; in the place of a directory, on either side."""
    one, other = site.two()
    secret = one.home / "secret"
    secret.mkdir()
    (secret / "key").write_text("not synced")
    one.folder.mkdir()
    for name, target in {"out": str(secret), "up": "../secret/key", "nothing": "nowhere", "self": "self", "in": "d/f", "etc": "/etc/passwd"}.items():
        one.at(name).symlink_to(target)
    one.write("d/f", "1")
    one.sync()
    assert b"not synced" not in site.objects().values() and site.get("out.rclonelink") == str(secret).encode()
    other.sync()
    assert os.readlink(other.at("out")) == str(secret)
    # A directory there, a link out of the folder here.
    (other.home / "elsewhere").mkdir()
    site.put("trap/evil", "evil")
    other.at("trap").symlink_to(other.home / "elsewhere")
    other.sync(code=(DONE, LEFT))
    other.sync(code=(DONE, LEFT))
    assert not list((other.home / "elsewhere").iterdir()), "written through a link"
    site.settle(other)
    assert other.read("trap/evil") == "evil"
    # A link in the bucket, and a name below it.
    site.put("hole.rclonelink", str(other.home / "elsewhere"))
    site.put("hole/evil", "evil")
    for machine in (one, other):
        for _ in range(3):
            machine.sync(code=(DONE, LEFT))
    assert not list((other.home / "elsewhere").iterdir()), "written through a link"
    assert "evil" in [body.decode() for path, body in other.files().items() if path.startswith("hole")]


@room.case
def pain_22_links_that_no_folder_can_hold_are_told_and_stay(site):
    machine = site.machine()
    machine.write("f", "1")
    targets = {"nowhere": b"", "long": b"x" * 5000, "nul": b"a\0b", "bytes": b"\xff\xfe"}
    for name, target in targets.items():
        site.put(f"{name}.rclonelink", target)
    for _ in range(2):
        report = machine.report(code=LEFT)
        told = {failed["path"]: failed["reason"] for failed in report["result"]["failed"]}
        assert set(told) == {"nowhere", "long", "nul"} and not report["result"]["again"], report["result"]
        assert os.readlink(os.fsencode(machine.at("bytes"))) == b"\xff\xfe" and site.get("f") == b"1"
    assert {name: site.get(f"{name}.rclonelink") for name in targets} == targets


@room.case
def pain_22_what_is_neither_file_nor_link_is_told_and_stays(site):
    machine = site.machine()
    machine.write("f", "1")
    os.mkfifo(machine.at("pipe"))
    bound = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    # A socket's path may have 107 bytes.
    relative = os.path.relpath(machine.at("socket"), here)
    try:
        bound.bind(relative if len(relative) < 107 else str(machine.at("socket")))
    except OSError:
        pass
    told = left_alone(machine.report())
    assert "neither a file" in told["pipe"], told
    site.put("pipe", "a file there")
    machine.sync(code=(DONE, LEFT))
    assert not machine.at("pipe").is_file() and site.get("pipe") == b"a file there"
    bound.close()


@room.case
def pain_22_conflicts_of_the_longest_names_keep_both_versions(site):
    """A copy's name is cut where it would be too long; where even that has no place, nothing is touched, and told."""
    one, other = site.two()
    names = ["n" * 252 + ".md", "é" * 126 + ".md", "x" * 255, "." + "h" * 254]
    deep = "/".join([*["d" * 200] * 4, "d" * 100])
    hopeless = f"{deep}/{'e' * (1024 - len(site.prefix) - len(deep) - 5)}.md"
    for name in [*names, hopeless]:
        one.write(name, "before")
    one.sync()
    other.sync()
    for name in [*names, hopeless]:
        one.write(name, f"one {name[:9]}")
        other.write(name, f"other! {name[:9]}")
    one.sync()
    report = other.report()
    assert "too long" in left_alone(report)[hopeless], left_alone(report)
    one.sync()
    bodies = sorted(body.decode() for path, body in one.files().items() if path != hopeless)
    assert bodies == sorted([f"{who} {name[:9]}" for name in names for who in ("one", "other!")]), bodies
    assert other.read(hopeless) == f"other! {hopeless[:9]}" and site.get(hopeless).decode() == f"one {hopeless[:9]}"
    assert all(len(os.path.basename(path).encode()) <= 255 for path in one.files())


@room.case
def pain_22_a_backslash_that_the_store_takes_for_a_slash(site):
    """SeaweedFS stores `a\\b` as `a/b`, whatever the conditions: such a file is told and stays, and no other is written over."""
    one, other = site.two()
    for path in ("a\\b", "a/b", "c\\d", "e/f\\g"):
        one.write(path, path)
    for _ in range(2):
        failed = {each["path"]: each["reason"] for each in one.report(code=LEFT)["result"]["failed"]}
        assert set(failed) == {"a\\b", "c\\d", "e/f\\g"} and all("backslash" in reason for reason in failed.values()), failed
        other.sync()
    assert site.objects() == other.files() == {"a/b": b"a/b"}, site.objects()
    assert {path: body.decode() for path, body in one.files().items()} == {path: path for path in ("a\\b", "a/b", "c\\d", "e/f\\g")}
    one.rename("a/b", "h\\i")
    one.sync(code=LEFT)
    one.sync(code=LEFT)
    assert one.read("h\\i") == "a/b"
    one.rename("h\\i", "plain")
    for path in ("a\\b", "c\\d", "e/f\\g"):
        one.rename(path, path.replace("\\", "-"))
    site.settle()


@room.case
def pain_22_a_file_here_and_a_directory_there(site, ill):
    """Also on a store that cannot hold both, and where the other came in the moment before."""
    one, other = site.two()
    one.write("x", "a file")
    other.write("x/inner", "below it")
    one.sync()
    other.sync(code=(DONE, LEFT))
    site.settle()
    assert sorted(one.files().values()) == [b"a file", b"below it"] and one.read("x/inner") == "below it", one.files()
    one.write("y", "a file too")
    other.write("y/inner", "below that")
    ill.once(lambda asked: asked.method == "PUT" and asked.key.endswith("/y"), lambda _: site.put("y/inner", "below that"))
    one.sync(code=(DONE, LEFT))
    ill.well()
    site.settle()
    one.write("z", "the third")
    other.write("z/inner", "below the third")
    ill.once(lambda asked: asked.method == "PUT" and asked.key.endswith("/z/inner"), lambda _: site.put("z", "the third"))
    other.sync(code=(DONE, LEFT))
    ill.well()
    site.settle()
    assert sorted(one.files().values()) == sorted([b"a file", b"below it", b"a file too", b"below that", b"the third", b"below the third"]), one.files()


HOSTILE = ["..", "../escaped", "a/../../escaped", "a/..", "/absolute", "//double", "a//b", "./dot", "a/./b", "ends/", "x" * 256, "d/" + "y" * 300 + "/f",
           "%!odd", ".artifacts/../../escaped", "..\\escaped", "control\x01\x1f", "new\nline", "cr\rhere", "tab\t", "del\x7f", "\u202eevil", "\ufeffbom", "a:b", "C:\\x"]


@on_moto
def pain_22_keys_that_lead_out_or_are_no_names_are_told_and_stay(site):
    one, other = site.two()
    put = []
    for key in HOSTILE:
        try:
            site.put(key, b"" if key.endswith("/") else f"body of {key!r}")
            put.append(key)
        except Exception:
            continue
    listed = set(site.keys())
    assert len(listed) > len(HOSTILE) * 0.7, f"moto took only {listed}"
    one.write("mine", "1")
    before = outside(one), outside(other)
    for machine in (one, other):
        report = machine.report()
        told = left_alone(report)
        for key in listed - {"mine"}:
            path = key.rstrip("/")
            on_disk = path and not any(part in ("", ".", "..") for part in path.split("/")) and os.path.lexists(machine.at(path))
            is_told = any(name.endswith(key) or name == site.prefix + key for name in told)
            assert on_disk or is_told or key.startswith(".artifacts/"), f"{key!r} is neither here nor told of: {told}"
    assert (outside(one), outside(other)) == before, "something was written outside of the folder"
    assert not (site.work / "escaped").exists() and not (site.work.parent / "escaped").exists()
    assert set(site.keys()) >= listed, "a key was dropped from the bucket"
    for machine in (one, other):
        assert not machine.moves(), machine.plan()["plan"]
    return f"{len(listed)} keys"


@on_moto
def pain_22_a_key_that_is_both_file_and_directory_loses_neither(site):
    one, other = site.two()
    site.put("both", "a file")
    site.put("both/inner", "below it")
    site.put("three", "a file")
    site.put("three/", b"")
    site.put("link", "a file")
    site.put("link.rclonelink", "target")
    one.write("f", "1")
    for _ in range(3):
        for machine in (one, other):
            machine.sync(code=(DONE, LEFT))
    told = left_alone(one.plan())
    bodies = set(site.objects().values())
    assert {b"a file", b"below it"} <= bodies, site.objects()
    assert "both" in told or any(path.startswith("both.conflict") for path in one.files()), told
    assert one.read("both/inner") == "below it"
    assert one.tree() == other.tree()


@room.case
def pain_22_a_store_that_lies_about_names_writes_nothing_outside(site, ill):
    """Its list has what no store should have: keys that lead out, that are too long, that come twice or out of order."""
    machine = site.machine()
    machine.write("f", "1")
    machine.write("g", "2")
    machine.sync()
    before, files = outside(machine), machine.files()
    real = site.head("f")["ETag"].strip('"')

    def listing(*keys):
        whole = [(site.prefix + key, real, 1) for key in keys]
        ill.well()
        ill.before.append(lambda asked: a_list(whole) if asked.is_list else None)

    for keys in (["../escaped", "f", "g"], ["..", "f", "g"], ["d/../../escaped", "f", "g"], ["f", "g", "x" * 2000], ["f", "f", "g"], ["g", "f"],
                 ["/abs", "f", "g"]):
        listing(*sorted(keys) if keys not in (["g", "f"], ["f", "f", "g"]) else keys)
        said = machine.sync(code=None)
        assert said.code in (0, 1, 7, 8), said
        assert {path: body for path, body in machine.files().items() if path in files} == files, (keys, machine.files())
        assert outside(machine) == before and not (machine.home.parent / "escaped").exists(), keys
    ill.well()
    site.settle()
    assert {path: body for path, body in machine.files().items() if path in files} == files
