use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};

use super::*;
use crate::seal::Passphrase;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned().into()).unwrap()
}

const TEXT: &str = "correct horse battery";
const STEPS: [Step; 6] = [
    Step::Made,
    Step::HalfWritten,
    Step::Written,
    Step::Synced,
    Step::Renamed,
    Step::FolderSynced,
];

#[tokio::test]
async fn a_file_is_made_once_and_grows_by_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signer.sealed");
    let seal = passphrase(TEXT);
    let first = init(&path, &seal, 1).await.unwrap();
    let again = init(&path, &seal, 2).await;
    assert!(matches!(again, Err(FileError::Exists(_))));
    let second = advance(&path, &seal, 3).await.unwrap();
    assert!(second.current() == 2 && second.continues(&first));
    let other = passphrase("another passphrase");
    reseal(&path, &seal, &other).await.unwrap();
    let refused = open(&path, &seal).await.err().unwrap();
    let wrong = SealError::Passphrase;
    assert!(matches!(refused, FileError::Seal { source, .. } if source == wrong));
    assert!(open(&path, &other).await.unwrap().continues(&second));
    let mode = fs::metadata(&path).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[tokio::test]
async fn a_file_that_others_can_read_is_refused_and_so_is_one_that_changes_already() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signer.sealed");
    let seal = passphrase(TEXT);
    init(&path, &seal, 1).await.unwrap();
    let held = turn(&path).unwrap();
    let refused = advance(&path, &seal, 2).await.err().unwrap().to_string();
    assert!(
        refused.contains("another command changes the file"),
        "{refused}"
    );
    drop(held);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = open(&path, &seal).await.err().unwrap();
    let exposed = NotPrivate::Exposed {
        path: path.clone(),
        mode: 0o640,
    };
    assert_eq!(refused.to_string(), exposed.to_string());
}

/// The same test runs again as a process of its own that kills itself after one step.
#[test]
fn a_kill_after_any_step_leaves_the_old_file_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signer.sealed");
    if let Ok(orders) = std::env::var("ARTIFACTS_TEST_KILLED_AT") {
        let (step, path) = orders.split_once(' ').unwrap();
        let step = STEPS[step.parse::<usize>().unwrap()];
        let end = |done| {
            if done == step {
                let _ = kill_process(getpid(), Signal::KILL);
            }
        };
        let _ = put(Path::new(path), b"the new file", Way::Over, &end);
        return;
    }
    for (number, step) in STEPS.iter().enumerate() {
        put(&path, b"the old file", Way::Over, &|_| ()).unwrap();
        let name = "file::tests::a_kill_after_any_step_leaves_the_old_file_or_the_new";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(
                "ARTIFACTS_TEST_KILLED_AT",
                format!("{number} {}", path.display()),
            )
            .output()
            .unwrap()
            .status;
        assert_eq!(status.signal(), Some(9), "{step:?}");
        let found = fs::read(&path).unwrap();
        let expected: &[u8] = match step {
            Step::Renamed | Step::FolderSynced => b"the new file",
            _ => b"the old file",
        };
        assert_eq!(found, expected, "{step:?}");
    }
    // What a killed one left behind is in nobody's way.
    put(&path, b"newer", Way::Over, &|_| ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
