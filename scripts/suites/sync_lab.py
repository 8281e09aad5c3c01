"""What the cases of two-way sync are made of: machines with a folder each, and the bucket as boto3 sees it.

Nothing here asks `artifacts` what is where: folders are read by their files, the bucket by another client.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.client import Config

from sync_ill_store import IllStore

LONG = os.environ.get("length") == "long"
LINK = ".rclonelink"
OURS = ".artifacts"
# Exit codes of `artifacts`.
DONE, DIFFERS, USAGE, NO_KEYS, STOPPED, LATER, LEFT = 0, 1, 2, 3, 6, 7, 8


class Skipped(Exception):
    """A case that cannot be tried here, and why."""


class Room:
    """Cases that belong together."""

    def __init__(self):
        self.cases = []

    def case(self, play):
        """A case gets a site of its own, and an ill store where it has a place for one. Its site is ended whatever becomes
        of it."""
        wants_ill = play.__code__.co_argcount > 1

        @functools.wraps(play)
        def with_site(lab):
            site = Site(lab, play.__name__, ill=wants_ill)
            try:
                return play(site, site.store) if wants_ill else play(site)
            finally:
                site.end()

        self.cases.append(with_site)
        return with_site


class Lab:
    """The store, and the folder in which each case has one of its own."""

    def __init__(self, file):
        with open(file) as opened:
            self.facts = json.load(opened)
        self.work = pathlib.Path(self.facts["work"])
        self.artifacts, self.bucket = self.facts["artifacts"], self.facts["bucket"]
        self.endpoint = self.facts["endpoint"]
        self.s3 = self.client(self.endpoint)

    def client(self, endpoint):
        return boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=self.facts["access_key"],
            aws_secret_access_key=self.facts["secret_key"], config=Config(s3={"addressing_style": "path"}, max_pool_connections=32))


class Site:
    """One workspace in the bucket, below a prefix of its own, and the machines that sync it."""

    def __init__(self, lab, name, ill=False, prefix=None, endpoint=None, bucket=None):
        self.lab, self.work = lab, lab.work / "cases" / name
        self.work.mkdir(parents=True)
        self.prefix, self.bucket = prefix or f"{name}/", bucket or lab.bucket
        self.s3 = lab.client(endpoint) if endpoint else lab.s3
        self.store = IllStore(endpoint or lab.endpoint) if ill else None
        self.endpoint = self.store.endpoint if ill else endpoint or lab.endpoint
        self.machines = []

    def machine(self, folder="dir"):
        """The first one makes the workspace, the others attach it."""
        machine = Machine(self, f"m{len(self.machines)}", folder)
        verb = "attach" if self.machines else "create"
        self.machines.append(machine)
        machine.run("workspace", verb, "notes", "--bucket", self.bucket, "--prefix", self.prefix, "--endpoint", self.endpoint)
        return machine

    def two(self):
        return self.machine(), self.machine()

    def end(self):
        for machine in self.machines:
            machine.end()
        if self.store:
            self.store.end()

    # The bucket, by boto3.

    def put(self, path, body=b"", **more):
        self.s3.put_object(Bucket=self.bucket, Key=self.prefix + path, Body=_bytes(body), **more)

    def get(self, path):
        return self.s3.get_object(Bucket=self.bucket, Key=self.prefix + path)["Body"].read()

    def hash(self, path):
        hashed = hashlib.sha256()
        for chunk in self.s3.get_object(Bucket=self.bucket, Key=self.prefix + path)["Body"].iter_chunks(1 << 20):
            hashed.update(chunk)
        return hashed.hexdigest()

    def head(self, path):
        return self.s3.head_object(Bucket=self.bucket, Key=self.prefix + path)

    def delete(self, *paths):
        for path in paths:
            self.s3.delete_object(Bucket=self.bucket, Key=self.prefix + path)

    def keys(self, below=""):
        """Every key of the workspace, below its prefix, what is ours included."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + below)
        return [found["Key"][len(self.prefix):] for page in pages for found in page.get("Contents", [])]

    def objects(self):
        """The objects that are files or links, with their bytes."""
        shown = [key for key in self.keys() if key and not key.endswith("/") and key.split("/")[0] != OURS]
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(shown, pool.map(self.get, shown)))

    def trash(self):
        """What lies in the bucket's trash, by the name that it had; the latest of a name."""
        return dict(self.trashed())

    def trashed(self):
        """All of it, pass by pass."""
        return [(key.split("/", 3)[3], self.get(key)) for key in self.keys(f"{OURS}/trash/")]

    def tree(self):
        """As `Machine.tree`, of the bucket."""
        keys = [key for key in self.keys() if key.split("/")[0] not in (OURS, "")]
        shown = [key for key in keys if not key.endswith("/")]
        links = {key: key.removesuffix(LINK) for key in shown if key.endswith(LINK) and key != LINK}
        with ThreadPoolExecutor(8) as pool:
            tree = dict(zip(shown, pool.map(lambda key: f"-> {self.get(key).decode()}" if key in links else self.hash(key), shown)))
        tree = {links.get(key, key): what for key, what in tree.items()}
        markers = [key.rstrip("/") for key in keys if key.endswith("/")]
        directories = {str(above) for path in tree for above in pathlib.PurePosixPath(path).parents if str(above) != "."}
        for marker in markers:
            directories |= {marker, *(str(above) for above in pathlib.PurePosixPath(marker).parents if str(above) != ".")}
        return {**tree, **{f"{directory}/": "" for directory in directories}}

    # What must be so in the end.

    def settle(self, *machines, options=(), rounds=12):
        """Lets the machines sync until nothing is left to do; each must have what the bucket has."""
        machines = machines or self.machines
        for _ in range(rounds):
            if not any([machine.moves(*options) for machine in machines]):
                return self.must_be_alike(*machines)
        raise AssertionError(f"no quiet after {rounds} rounds: {[m.plan(*options)['plan'] for m in machines]}")

    def watched_alike(self, holds=lambda: True, seconds=60.0):
        """Waits until watches have brought all folders to what the bucket has, and this holds."""
        def are():
            try:
                return holds() and all(machine.tree() == self.tree() for machine in self.machines)
            except (OSError, self.s3.exceptions.NoSuchKey):
                # It went away while it was read.
                return False

        try:
            eventually("all alike", are, seconds)
        except AssertionError as late:
            there, told = self.tree(), []
            for machine in self.machines:
                here = machine.tree()
                differs = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
                watching = machine.watches[-1]
                state = "runs" if watching.is_running() else f"ended with {watching.child.returncode}"
                told.append(f"{machine.name} differs at {differs}, its watch {state}: {watching.said()[-400:]}")
            raise AssertionError(f"{late}: {told}") from late

    def must_be_alike(self, *machines):
        there = self.tree()
        for machine in machines or self.machines:
            here = machine.tree()
            only = {path: (here.get(path), there.get(path)) for path in here.keys() | there.keys() if here.get(path) != there.get(path)}
            assert not only, f"{machine.name} and the bucket differ: {only}"
            check = machine.run("bisync", "check", "notes", machine.folder, code=None)
            # Names that one side cannot hold are left alone, which is no difference.
            assert check.code == DONE or "what could be compared is alike" in check.out, "check does not find them alike"


class Machine:
    """A user's home with a synced folder, and the program."""

    def __init__(self, site, name, folder):
        self.site, self.name = site, name
        self.home = site.work / name
        self.home.mkdir()
        self.folder = self.home / folder
        self.watches = []
        self.env = {
            "HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
            "ARTIFACTS_S3_ACCESS_KEY_ID": site.lab.facts["access_key"], "ARTIFACTS_S3_SECRET_ACCESS_KEY": site.lab.facts["secret_key"],
        }
        self.state = self.home / ".local/state/artifacts"

    # The program.

    def run(self, *words, code=0, env=None):
        """Runs `artifacts`; the exit code must be this one, or one of these, or any (None)."""
        done = subprocess.run([self.site.lab.artifacts, *map(str, words)], capture_output=True, text=True, timeout=600, cwd=self.home,
                              stdin=subprocess.DEVNULL, env={**self.env, **(env or {})})
        said = Said(done.returncode, done.stdout, done.stderr)
        wanted = code if isinstance(code, tuple) else (code,)
        assert code is None or said.code in wanted, f"artifacts {' '.join(map(str, words))}: exit {said.code}, expected {code}: {said}"
        return said

    def sync(self, *options, code=0, env=None):
        return self.run("bisync", "notes", self.folder, *options, code=code, env=env)

    def report(self, *options, code=(DONE, LEFT), env=None):
        """A run, as programs see it."""
        return json.loads(self.sync("--format", "json", *options, code=code, env=env).out)

    def plan(self, *options):
        return self.report("--dry-run", *options)

    def status(self):
        """The folder's, as `bisync-status` tells it."""
        standing, = json.loads(self.run("bisync-status", self.folder, "--format", "json", code=None).out)
        return standing

    def why(self, path):
        return self.run("ignore", "why", self.at(path)).out

    def moves(self, *options):
        """Runs; whether there was anything to do."""
        report = self.report(*options)
        return bool(report["plan"]["actions"] or report["result"]["again"] or report["result"]["failed"])

    def start(self, *options, env=None, log=None):
        """A run that is not waited for."""
        with open(log or os.devnull, "wb") as said:
            return subprocess.Popen([self.site.lab.artifacts, "bisync", "notes", str(self.folder), *options], stdin=subprocess.DEVNULL,
                                    stdout=said, stderr=said, cwd=self.home, env={**self.env, **(env or {})})

    def watch(self, *options):
        log = self.home / f".watch-{len(self.watches)}.log"
        self.watches.append(Watching(self.start("--watch", "--interval", "1s", *options, log=log), log))
        return self.watches[-1]

    def end(self):
        for watching in self.watches:
            watching.kill()

    # The folder.

    def at(self, path):
        return self.folder / path

    def write(self, path, body="", age=3600.0):
        """A file that was changed an hour ago: nobody types in it any more."""
        at = self.at(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(_bytes(body))
        then = time.time() - age
        os.utime(at, (then, then))

    def read(self, path):
        return self.at(path).read_bytes().decode()

    def delete(self, *paths):
        for path in paths:
            self.at(path).unlink()

    def rename(self, old, new):
        self.at(new).parent.mkdir(parents=True, exist_ok=True)
        self.at(old).rename(self.at(new))

    def files(self):
        """Everything in the folder but what is ours, by its path: the bytes of files and links."""
        return {path: os.readlink(at).encode() if at.is_symlink() else at.read_bytes() for path, at in self._entries() if not _is_directory(at)}

    def tree(self):
        """Files as hashes, links as where they lead, directories with a slash."""
        found = {}
        for path, at in self._entries():
            if at.is_symlink():
                found[path] = f"-> {os.readlink(at)}"
            elif at.is_dir():
                found[f"{path}/"] = ""
            else:
                found[path] = _hash_of(at)
        return found

    def _entries(self):
        for above, directories, names in os.walk(self.folder):
            if pathlib.Path(above) == self.folder:
                directories[:] = [name for name in directories if name != OURS]
            for name in directories + names:
                at = pathlib.Path(above) / name
                yield at.relative_to(self.folder).as_posix(), at

    def copies(self, of=""):
        """The conflict copies in the folder."""
        return sorted(path for path in self.files() if ".conflict-" in path and path.startswith(of))

    def trash(self):
        """What lies in the folder's trash, by the name that it had; the latest of a name."""
        return dict(self.trashed())

    def trashed(self):
        """All of it, pass by pass."""
        bin_ = self.folder / OURS / "trash"
        files = [at for at in sorted(bin_.rglob("*")) if not _is_directory(at)]
        return [("/".join(at.relative_to(bin_).parts[1:]), os.readlink(at).encode() if at.is_symlink() else at.read_bytes()) for at in files]

    def half_received(self):
        bin_ = self.folder / OURS / "tmp"
        return sorted(entry.name for entry in bin_.iterdir()) if bin_.exists() else []

    def fingerprint(self):
        """Of every byte, name, mode and time below the home: of folder, state and configuration."""
        print_ = hashlib.sha256()
        for above, directories, names in os.walk(self.home):
            directories.sort()
            for name in sorted(directories + names):
                at = pathlib.Path(above) / name
                seen = at.lstat()
                print_.update(f"{at.relative_to(self.home)} {seen.st_mode} {seen.st_size} {seen.st_mtime_ns} {seen.st_ino}\n".encode("utf-8", "surrogateescape"))
                if stat.S_ISREG(seen.st_mode):
                    print_.update(at.read_bytes())
        return print_.hexdigest()


class Watching:
    """A `bisync --watch`."""

    def __init__(self, child, log):
        self.child, self.log = child, log

    def is_running(self):
        return self.child.poll() is None

    def stop(self):
        """By its signal; it must end well."""
        assert self.is_running(), f"the watch had ended with {self.child.returncode}: {self.said()}"
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(30) == 0, f"the watch ended with {self.child.returncode}: {self.said()}"

    def ended(self, seconds=30):
        """Waits for its own end; the exit code."""
        return self.child.wait(seconds)

    def said(self):
        return self.log.read_text()[-1500:]

    def kill(self):
        if self.is_running():
            self.child.kill()
            self.child.wait()


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __str__(self):
        return f"{self.out[-700:]} {self.err[-700:]}"

    def names(self, *words):
        """What must be told, on either stream."""
        for word in words:
            assert word in self.out + self.err, f"{word!r} is not told: {self}"


def eventually(what, holds, seconds=30.0):
    """As soon as it holds."""
    until = time.monotonic() + seconds
    while True:
        if found := holds():
            return found
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def left_alone(report):
    """Names that are told as left alone, with the reason."""
    return {one["name"]: one["reason"] for one in report["plan"]["left_alone"]}


def acts(report):
    return sorted((act["action"], act["path"]) for act in report["plan"]["actions"])


def same_folders(one, other):
    """By `diff`, a program that knows nothing of us."""
    done = subprocess.run(["diff", "-r", "--no-dereference", "--exclude", OURS, str(one), str(other)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]


def by_aws_cli(site, to):
    """The bucket's files as the AWS command line fetches them."""
    shutil.rmtree(to, ignore_errors=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(site.work), "AWS_ACCESS_KEY_ID": site.lab.facts["access_key"],
           "AWS_SECRET_ACCESS_KEY": site.lab.facts["secret_key"], "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(["aws", "--endpoint-url", site.lab.endpoint, "s3", "cp", "--recursive", "--only-show-errors", "--exclude", f"{OURS}/*",
                           f"s3://{site.bucket}/{site.prefix}", str(to)], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def _is_directory(at):
    return at.is_dir() and not at.is_symlink()


def _bytes(body):
    return body.encode() if isinstance(body, str) else body


def _hash_of(at):
    with open(at, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
