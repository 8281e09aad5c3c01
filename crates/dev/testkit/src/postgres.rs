//! PostgreSQL on a free port of loopback, with a data folder of its own.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::tools::{self, Tool};
use crate::{Error, ports};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// Where Debian has the server's programs, which are not in `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The database's superuser.
const USER: &str = "artifacts";

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: Programs,
    address: SocketAddr,
    databases: AtomicU32,
    /// Removed after the process is gone (fields drop in order).
    data: TempDir,
}

/// Where the programs are, and as whom they run: PostgreSQL refuses to be root.
#[derive(Debug)]
struct Programs {
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

/// What a server keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing through a power cut, in little memory: for tests.
    None,
    /// Every answered transaction, with memory for a large database: for measuring.
    Full,
}

impl Durability {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::None => &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "shared_buffers=16MB",
            ],
            Self::Full => &["shared_buffers=512MB", "max_wal_size=4GB"],
        }
    }
}

impl Postgres {
    /// Starts a server that keeps nothing through a power cut and asks for no password.
    ///
    /// # Errors
    /// [`Error::Missing`] without PostgreSQL, or why it did not come up.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Durability::None)
    }

    /// Starts one that keeps so much.
    ///
    /// # Errors
    /// [`Error::Missing`] without PostgreSQL, or why it did not come up.
    pub fn start_with(durability: Durability) -> Result<Self, Error> {
        let programs = Programs::find()?;
        let data = tempfile::Builder::new().prefix("postgres-").tempdir();
        let data = data.map_err(Error::io("create a data folder"))?;
        if let Some((user, group)) = programs.user {
            let given = chown(data.path(), Some(user), Some(group));
            given.map_err(Error::io("give the data folder to PostgreSQL's user"))?;
        }
        let cluster = data.path().join("cluster");
        programs.run("initdb", |command| {
            command
                .arg(format!("--pgdata={}", cluster.display()))
                .arg(format!("--username={USER}"))
                .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        })?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let process = serve(&programs, data.path(), (&cluster, durability), address)?;
        Ok(Self {
            process,
            programs,
            address,
            databases: AtomicU32::new(0),
            data,
        })
    }

    /// Makes an empty database, and says how to reach it.
    ///
    /// # Errors
    /// [`Error::Store`] with the server's words.
    pub fn create_database(&self) -> Result<String, Error> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.programs.run("createdb", |command| {
            command
                .args(["--host=127.0.0.1", "--username", USER, "--port"])
                .arg(self.address.port().to_string())
                .arg(&name);
        })?;
        Ok(format!("postgres://{USER}@{}/{name}", self.address))
    }

    /// What a statement answers in a database that [`create_database`](Self::create_database)
    /// made: one line for each row, with `|` between the columns.
    ///
    /// # Errors
    /// [`Error::Store`] with the server's words.
    pub fn ask(&self, database: &str, statement: &str) -> Result<String, Error> {
        let output = self.programs.run("psql", |command| {
            command
                .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
                .args(["--set=ON_ERROR_STOP=1", "--command", statement, database]);
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The group of the server's processes.
    pub fn group(&self) -> u32 {
        self.process.group()
    }
}

impl Drop for Postgres {
    /// In its own way first, so that it gives its shared memory back; if it does not, the
    /// process is killed with its group.
    fn drop(&mut self) {
        let cluster = self.data.path().join("cluster");
        let stopped = self.programs.run("pg_ctl", |command| {
            command
                .args(["stop", "--mode=immediate", "--timeout=10"])
                .arg(format!("--pgdata={}", cluster.display()));
        });
        // An error means that it is gone already, or is killed now.
        drop(stopped);
        self.process.kill();
    }
}

impl Programs {
    fn find() -> Result<Self, Error> {
        let server = match tools::find(Tool::Postgres) {
            Ok(path) => path,
            Err(missing) => newest_of_debian().ok_or(missing)?,
        };
        // A link in PATH need not have the other programs beside it.
        let server = server
            .canonicalize()
            .map_err(Error::io("find PostgreSQL's folder"))?;
        let folder = server.parent().map(Path::to_owned).unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root {
            Some(postgres_user()?)
        } else {
            None
        };
        Ok(Self { folder, user })
    }

    /// The words before a program that make it run as the right user.
    fn command(&self, program: &str) -> (PathBuf, Vec<String>) {
        let path = self.folder.join(program);
        match self.user {
            None => (path, Vec::new()),
            Some((user, group)) => {
                let words = [
                    format!("--reuid={user}"),
                    format!("--regid={group}"),
                    "--clear-groups".to_owned(),
                    path.display().to_string(),
                ];
                (PathBuf::from("setpriv"), words.to_vec())
            }
        }
    }

    fn run(&self, program: &str, prepare: impl FnOnce(&mut Command)) -> Result<Output, Error> {
        let (path, words) = self.command(program);
        let mut command = Command::new(path);
        command.args(words).current_dir("/");
        prepare(&mut command);
        let output = command
            .output()
            .map_err(Error::io(format!("run {program}")))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Error::Store {
            what: program.to_owned(),
            cause: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

fn serve(
    programs: &Programs,
    data: &Path,
    (cluster, durability): (&Path, Durability),
    address: SocketAddr,
) -> Result<Process, Error> {
    let (path, words) = programs.command("postgres");
    let log = data.join("postgres.log");
    let mut process = Process::start("postgres", &path, &log, |command| {
        command.args(words).current_dir("/").arg("-D").arg(cluster);
        let port = format!("port={}", address.port());
        let place = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            &port,
        ];
        for setting in place.iter().chain(durability.settings()) {
            command.args(["-c", setting]);
        }
    })?;
    process.wait_ready(READY_LIMIT, || answers(programs, address))?;
    Ok(process)
}

/// The port alone says too little: the server opens it before it takes anybody.
fn answers(programs: &Programs, address: SocketAddr) -> bool {
    let limit = Duration::from_secs(1);
    if TcpStream::connect_timeout(&address, limit).is_err() {
        return false;
    }
    let asked = programs.run("pg_isready", |command| {
        command
            .args(["--host=127.0.0.1", "--port"])
            .arg(address.port().to_string());
    });
    asked.is_ok()
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN).ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin/postgres");
            program.is_file().then_some((number, program))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, program)| program)
}

/// The user that the package made, by its line in the user database (passwd(5)).
fn postgres_user() -> Result<(u32, u32), Error> {
    let text = std::fs::read_to_string("/etc/passwd").map_err(Error::io("read /etc/passwd"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = line.unwrap_or_default().split(':').skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok());
    number().zip(number()).ok_or_else(|| Error::Store {
        what: "find the user `postgres`".into(),
        cause: "there is none; PostgreSQL does not run as root".into(),
    })
}

/// Gives a started [`Postgres`](crate::postgres::Postgres), or leaves the test with a printed
/// reason; with `ARTIFACTS_REAL_SERVERS=1` a missing one fails the test instead.
#[macro_export]
macro_rules! require_postgres {
    () => {
        match $crate::postgres::Postgres::start() {
            Ok(server) => server,
            Err(error @ $crate::Error::Missing { .. }) if !$crate::tools::required() => {
                $crate::tools::note_skip(&error.to_string());
                return;
            }
            Err(error) => panic!("{error}"),
        }
    };
}
