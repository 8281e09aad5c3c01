//! Secrets are where they belong and nowhere else: over a whole life of storage keys, an
//! identity and a mount, nothing outside of the keyring ever has their bytes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mounting::{Site, mounts_under};
use secrecy::ExposeSecret;
use support::{Machine, Said};

const ALL: &str = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
const PASSWORD: &str = "correct horse";
const NEXT_PASSWORD: &str = "battery staple";
const EXPORT_PASSWORD: &str = "a third password";
const MFA_CODE: &str = "493817";

/// What is searched for, and everything that was seen on the way.
struct Watch {
    secrets: Vec<(&'static str, String)>,
    found: Vec<String>,
}

impl Watch {
    fn look(&mut self, place: &str, bytes: &[u8]) {
        for (what, secret) in &self.secrets {
            let secret = secret.as_bytes();
            if bytes.windows(secret.len()).any(|window| window == secret) {
                self.found.push(format!("{what} in {place}"));
            }
        }
    }

    /// Everything below a folder, names of files too.
    fn look_below(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            self.look("a file's name", path.as_os_str().as_encoded_bytes());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.look_below(&path),
                Ok(kind) if kind.is_file() => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    self.look(&path.display().to_string(), &bytes);
                }
                _ => {}
            }
        }
    }

    /// What anybody may read of a process, and its environment, which its user may.
    fn look_at(&mut self, what: &str, pid: u32) {
        for file in ["cmdline", "environ", "comm", "status"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            self.look(&format!("{file} of {what}"), &bytes);
        }
    }

    fn said(&mut self, line: &str, said: &Said) {
        self.look(&format!("stdout of {line}"), said.out.as_bytes());
        self.look(&format!("stderr of {line}"), said.err.as_bytes());
    }
}

/// A site whose machine keeps everything in a file keyring and puts every temporary file into
/// folders that can be searched.
fn site() -> (Site, [PathBuf; 2]) {
    let mut site = Site::bare();
    let folders = ["tmp", "run"].map(|name| site.machine.home.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        support::chmod(folder, 0o700);
    }
    site.machine
        .unset_keys()
        .set("TMPDIR", folders[0].to_str().unwrap())
        .set("XDG_RUNTIME_DIR", folders[1].to_str().unwrap())
        .set("HISTFILE", folders[1].join("history").to_str().unwrap())
        .set("ARTIFACTS_LOG", "trace")
        .set("RUST_LOG", "trace")
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD)
        .set("ARTIFACTS_KEYRING_NEW_PASSWORD", NEXT_PASSWORD)
        .set("ARTIFACTS_EXPORT_PASSWORD", EXPORT_PASSWORD);
    (site, folders)
}

/// Files of the machine's own temporary folder that are there now.
fn shared_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).collect()
}

fn session_of(machine: &Machine) -> (String, String) {
    let text = machine.run_openly("auth env --identity ada -f json").ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let field = |name: &str| value[name].as_str().unwrap().to_owned();
    (field("AWS_SECRET_ACCESS_KEY"), field("AWS_SESSION_TOKEN"))
}

#[test]
fn no_secret_is_anywhere_but_in_the_keyring_over_a_whole_life() {
    require_fuse!();
    let (mut site, _folders) = site();
    let before = shared_files();
    let storage = site.keys().add(ALL).unwrap();
    let identity = site.keys().add(ALL).unwrap();
    let secret = |key: &embedded::AccessKey| key.secret.expose_secret().to_owned();
    let mut watch = Watch {
        secrets: vec![
            ("the storage secret", secret(&storage)),
            ("the identity's secret", secret(&identity)),
            ("the password", PASSWORD.into()),
            ("the next password", NEXT_PASSWORD.into()),
            ("the export's password", EXPORT_PASSWORD.into()),
        ],
        found: Vec::new(),
    };
    site.put_settings(&serde_json::json!({
        "version": 1, "mfa_devices": [{ "serial": "GAHT12345678", "code": MFA_CODE }],
    }));
    let endpoint = site.endpoint();
    let typed = [
        (
            format!("storage set --access-key-id {} --secret-stdin", storage.id),
            secret(&storage),
        ),
        (
            format!(
                "auth user configure --identity ada --access-key-id {} --secret-stdin --endpoint {endpoint} --mfa-device GAHT12345678",
                identity.id
            ),
            secret(&identity),
        ),
    ];
    for (line, input) in &typed {
        let said = site.machine.run_with_input(line, input);
        watch.said(line, &said);
        said.ok();
    }
    // The code goes in by the option, which is what the option is for.
    let login = format!("auth login --identity ada --mfa-code {MFA_CODE}");
    let said = site.machine.run(&login);
    watch.said("auth login", &said);
    said.ok();
    let (session_secret, session_token) = session_of(&site.machine);
    watch.secrets.push(("the session's secret", session_secret));
    watch.secrets.push(("the session's token", session_token));

    for line in [
        "storage show",
        "auth whoami --identity ada",
        "auth list",
        "auth keyring status",
        "auth keyring export keys.age",
        "auth keyring import keys.age",
        "workspace create work --bucket bucket --prefix work --identity ada",
        "workspace show work",
        "workspace list",
        "conflicts list work",
        "doctor work",
        "auth exec --identity nobody -- true",
        "auth login --identity ada --mfa-code 000000",
        "workspace create other --bucket bucket --prefix other --endpoint http://127.0.0.1:1",
    ] {
        let said = site.machine.run_openly(line);
        watch.said(line, &said);
    }
    mount_and_look(&site, &mut watch);
    exec_and_look(&site, &mut watch);

    let said = site.machine.run_openly("auth keyring passwd");
    watch.said("auth keyring passwd", &said);
    said.ok();
    site.machine
        .set("ARTIFACTS_KEYRING_PASSWORD", NEXT_PASSWORD);
    site.machine.run_openly("storage show").ok();
    watch.look_below(site.machine.home.path());
    for path in shared_files().iter().filter(|path| !before.contains(path)) {
        let bytes = fs::read(path).unwrap_or_default();
        watch.look(&path.display().to_string(), &bytes);
    }
    assert_eq!(watch.found, Vec::<String>::new());
    let seen = watch.secrets.iter().map(|(_, secret)| secret.len()).min();
    assert!(seen > Some(5), "a search for nothing finds nothing");
}

/// A mount in the background, with its log, and what is left of it in the process table.
fn mount_and_look(site: &Site, watch: &mut Watch) {
    let folder = site.folder("mnt");
    let said = site
        .machine
        .run_openly(&format!("mount work {}", folder.display()));
    watch.said("mount", &said);
    said.ok();
    fs::write(folder.join("file"), "content").unwrap();
    let status = site.status("work");
    let pid = u32::try_from(status["pid"].as_u64().unwrap()).unwrap();
    watch.look_at("the mount", pid);
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(
        environment.contains("HOME="),
        "the search sees it: {environment}"
    );
    assert!(!environment.contains("_PASSWORD"), "{environment}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let cores = limits.lines().find(|l| l.starts_with("Max core file size"));
    assert_eq!(cores.unwrap().split_whitespace().nth(4), Some("0"));
    let said = site.machine.run_openly("unmount work");
    watch.said("unmount", &said);
    said.ok();
    assert!(mounts_under(&site.root).is_empty());
    let log = site
        .machine
        .home
        .path()
        .join(".local/state/artifacts/logs/work.log");
    assert!(
        fs::read_to_string(&log).unwrap().contains("answered"),
        "traces are there to be searched"
    );
}

/// A command under `artifacts exec`, with our own process beside it.
fn exec_and_look(site: &Site, watch: &mut Watch) {
    let (folder, go) = (site.folder("mnt"), site.folder("go"));
    let line = format!("exec work {} -- sh -c", folder.display());
    let script = format!("env; while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let child = site
        .machine
        .artifacts(&line)
        .arg(script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    mounting::eventually(Duration::from_secs(20), "the command runs", || {
        !children_of(child.id()).is_empty()
    });
    std::thread::sleep(Duration::from_millis(100));
    for pid in children_of(child.id()) {
        watch.look_at("the command", pid);
    }
    let cmdline = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    watch.look("cmdline of exec", &cmdline);
    fs::write(&go, "").unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    watch.said("exec", &said);
    assert!(said.out.contains("ARTIFACTS_MOUNT="), "{}", said.out);
    said.ok();
}

/// The processes whose parent this is (proc_pid_stat(5): the field after the state).
fn children_of(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}
