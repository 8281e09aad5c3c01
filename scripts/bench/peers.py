"""What is measured: each peer mounts a bucket at a folder and lets go of it again."""

import os
import pathlib
import shutil
import subprocess
import time

READY_LIMIT = 60.0
UNMOUNT_LIMIT = 300.0


class Absent(Exception):
    """A peer cannot be measured here; the reason is the text."""


class Peer:
    """Base: `mount` gives the seconds until the folder can be listed."""

    name = ""
    # Whether files are objects of their own in the bucket.
    plain_objects = True
    # Whether what is written must be put there through the mount (its own format).
    own_format = False

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.work / self.name
        self.cache = self.folder / "cache"
        self.root = self.folder / "mnt"
        self.process = None
        self.peak_kib = 0
        for folder in (self.folder, self.cache, self.root):
            folder.mkdir(parents=True, exist_ok=True)

    def prepare(self):
        """Once, before anything is measured. Raises Absent."""

    def mount(self, bucket, latency, cold=True):
        if cold:
            self.bench.discard(self.cache)
            self.cache.mkdir()
            self.bench.drop_caches()
        self.make_ready(bucket, latency)
        begun = time.monotonic()
        self.start(bucket, latency)
        self.wait_ready()
        return time.monotonic() - begun

    def make_ready(self, bucket, latency):
        """What is done once for a bucket, before any mount of it; never timed."""

    def start(self, bucket, latency):
        raise NotImplementedError

    def wait_ready(self):
        deadline = time.monotonic() + READY_LIMIT
        while not os.path.ismount(self.root):
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not mounted after {READY_LIMIT} s: {self.log_tail()}")
            time.sleep(0.002)
        # The mount answers.
        os.stat(self.root)

    def unmount(self):
        self.note_memory()
        if os.path.ismount(self.root):
            run(["fusermount3", "-u", str(self.root)], timeout=UNMOUNT_LIMIT)
        if self.process:
            self.process.wait(timeout=UNMOUNT_LIMIT)
            self.process = None

    def abandon(self):
        """After a failure: the mount goes, whatever it holds."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        if os.path.ismount(self.root) or not _stat_works(self.root):
            subprocess.run(["fusermount3", "-u", "-z", str(self.root)], capture_output=True)

    def launch(self, command, env=None):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [str(c) for c in command], env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def note_memory(self):
        """Remembers the highest VmHWM of the processes that serve the mount."""
        for pid in self.pids():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))

    def pids(self):
        return [self.process.pid] if self.process else []

    def in_bucket(self, bucket, prefix):
        """(objects, bytes) that the bucket holds; None where files are not objects."""
        return self.bench.s3.total(bucket, prefix) if self.plain_objects else None

    def log_tail(self):
        log = self.folder / "log"
        return log.read_text(errors="replace")[-800:] if log.exists() else ""

    def tool(self, variable, program):
        path = os.environ.get(variable) or shutil.which(program)
        if not path:
            raise Absent(f"{program} is not installed")
        return path


class Us(Peer):
    name = "artifacts"

    def prepare(self):
        self.program = self.bench.arguments.artifacts
        self.known = set()

    def start(self, bucket, latency):
        run([self.program, "mount", bucket, str(self.root)], env=self._env(bucket, latency))
        self._current = (bucket, latency)

    def unmount(self):
        self.note_memory()
        run([self.program, "unmount", str(self.root)], env=self._env(*self._current), timeout=UNMOUNT_LIMIT)

    def abandon(self):
        for pid in self.pids():
            os.kill(pid, 9)
        super().abandon()

    def pids(self):
        """The supervisor and the mount: whoever has the folder in its arguments."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                ours = os.path.basename(words[0]) == os.path.basename(self.program).encode()
                if ours and str(self.root).encode() in words:
                    found.append(int(entry.name))
        return found

    def make_ready(self, bucket, latency):
        """One home per latency: a workspace's endpoint is part of it."""
        if (bucket, latency) not in self.known:
            env = self._env(bucket, latency)
            where = ["--bucket", bucket, "--endpoint", self.bench.endpoint(latency)]
            made = subprocess.run([self.program, "workspace", "create", bucket, *where],
                                  env=env, capture_output=True, text=True)
            if made.returncode != 0:
                run([self.program, "workspace", "attach", bucket, *where], env=env)
            self.known.add((bucket, latency))

    def _env(self, bucket, latency):
        home = self.folder / f"home-{latency}"
        home.mkdir(exist_ok=True)
        return {
            **os.environ,
            "ARTIFACTS_S3_ACCESS_KEY_ID": self.bench.access_key,
            "ARTIFACTS_S3_SECRET_ACCESS_KEY": self.bench.secret_key,
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "share"),
            # A cold mount knows nothing: neither bodies nor names.
            "XDG_CACHE_HOME": str(self.cache / "cache"),
            "XDG_STATE_HOME": str(self.cache / "state"),
            **self.bench.mount_options,
        }


class Rclone(Peer):
    name = "rclone"
    options = ["--vfs-cache-mode", "full"]

    def prepare(self):
        self.program = self.tool("ARTIFACTS_RCLONE", "rclone")

    def start(self, bucket, latency):
        env = {
            "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other", "RCLONE_CONFIG_S_REGION": "us-east-1",
            "RCLONE_CONFIG_S_ENDPOINT": self.bench.endpoint(latency),
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": self.bench.access_key,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": self.bench.secret_key,
            "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true",
        }
        self.launch([self.program, "mount", f"s:{bucket}", self.root,
                     "--cache-dir", self.cache, *self.options], env)


class RcloneTuned(Rclone):
    name = "rclone-tuned"
    options = ["--vfs-cache-mode", "full", "--use-server-modtime", "--vfs-fast-fingerprint",
               "--transfers", "16", "--vfs-read-chunk-streams", "8", "--vfs-read-chunk-size", "4M"]


class S3fs(Peer):
    name = "s3fs"

    def prepare(self):
        self.program = self.tool("ARTIFACTS_S3FS", "s3fs")
        self.passwd = self.folder / "passwd"
        self.passwd.write_text(f"{self.bench.access_key}:{self.bench.secret_key}\n")
        self.passwd.chmod(0o600)

    def start(self, bucket, latency):
        options = f"url={self.bench.endpoint(latency)},use_path_request_style,parallel_count=10"
        self.launch([self.program, bucket, self.root, "-f", "-o", options,
                     "-o", f"passwd_file={self.passwd}", "-o", f"tmpdir={self.cache}"])


class Juicefs(Peer):
    name = "juicefs"
    plain_objects = False
    own_format = True

    def prepare(self):
        self.program = self.tool("ARTIFACTS_JUICEFS", "juicefs")
        self.formatted = set()

    def make_ready(self, bucket, latency):
        own, meta = self._places(bucket)
        if bucket not in self.formatted:
            self.bench.s3.create_bucket(own)
            run([self.program, "--no-agent", "format", "--storage", "s3", "--trash-days", "0",
                 "--bucket", f"{self.bench.endpoint(0)}/{own}", meta, "bench"],
                env={**os.environ, "ACCESS_KEY": self.bench.access_key,
                     "SECRET_KEY": self.bench.secret_key})
            self.formatted.add(bucket)

    def start(self, bucket, latency):
        own, meta = self._places(bucket)
        self.launch([self.program, "--no-agent", "mount", "--no-usage-report", "--writeback",
                     "--backup-meta", "0", "--log", self.folder / "juicefs.log",
                     "--bucket", f"{self.bench.endpoint(latency)}/{own}",
                     "--cache-dir", self.cache, meta, self.root])

    def unmount(self):
        self.note_memory()
        run([self.program, "--no-agent", "umount", "--flush", str(self.root)], timeout=UNMOUNT_LIMIT)
        if self.process:
            self.process.wait(timeout=UNMOUNT_LIMIT)
            self.process = None

    def _places(self, bucket):
        return f"jfs-{bucket}", f"sqlite3://{self.folder}/{bucket}.db"

    def pids(self):
        """JuiceFS serves from a child of the process that was started."""
        found = super().pids()
        for pid in list(found):
            children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
            found += [int(p) for p in children.stdout.split()]
        return found


class Ext4(Peer):
    """A plain folder of the local disk: what a mount is compared with."""

    name = "ext4"
    plain_objects = False
    own_format = True

    def start(self, bucket, latency):
        real = self.folder / bucket
        real.mkdir(exist_ok=True)
        self.root = real

    def wait_ready(self):
        pass

    def unmount(self):
        pass

    def abandon(self):
        pass


ALL = [Us, Rclone, RcloneTuned, S3fs, Juicefs, Ext4]


def run(command, timeout=120, **options):
    """Runs a program; its own words are the error."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout, **options)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-800:]
        raise RuntimeError(f"{os.path.basename(str(command[0]))} {command[1]}: exit {done.returncode}: {words}")
    return done.stdout


def _stat_works(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def versions():
    """Versions of the programs, for the report."""
    found = {}
    for name, command in {
        "rclone": ["rclone", "version"], "s3fs": ["s3fs", "--version"],
        "juicefs": ["juicefs", "--version"], "weed": ["weed", "version"],
        "s5cmd": ["s5cmd", "version"], "fio": ["fio", "--version"],
    }.items():
        if shutil.which(command[0]):
            out = subprocess.run(command, capture_output=True, text=True)
            found[name] = (out.stdout or out.stderr).strip().splitlines()[0]
    return found


