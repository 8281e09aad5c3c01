//! Folders that do not tell cases apart: nothing is written over another name's file.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bucket::memory::MemoryBucket;
use machine::{ALL, Machine, put, remove};
use model::Profile;
use sync::apply::{Applied, Sides};
use sync::folder::memory::MemoryFolder;
use sync::keys::Keys;
use sync::settings::Settings;
use sync::state::State;
use sync::steps::GoOn;
use sync::{TreePath, look, pass};
use uuid::Uuid;

struct Folding {
    folder: MemoryFolder,
    sides: Sides,
    settings: Settings,
}

impl Folding {
    fn on(bucket: &MemoryBucket) -> Self {
        let folder = MemoryFolder::new(1_700_000_000_000_000_000);
        folder.fold_case();
        let sides = Sides {
            bucket: Arc::new(bucket.clone()),
            keys: Keys::new("p/"),
            capabilities: ALL,
            folder: Arc::new(folder.clone()),
            state: Arc::new(State::in_memory(Uuid::nil()).unwrap()),
            steps: Arc::new(GoOn),
        };
        Self {
            folder,
            sides,
            settings: Settings::of(Profile::Balanced, "here"),
        }
    }

    /// Passes until one does nothing; gives what is refused.
    async fn settle(&self) -> Vec<String> {
        for _ in 0..5 {
            self.folder.wait(10_000_000_000);
            let applied = pass(&self.sides, &self.settings, &mut |_| ())
                .await
                .unwrap();
            if applied == Applied::default() {
                let (plan, _) = look(&self.sides, &self.settings).await.unwrap();
                return plan
                    .refused
                    .into_iter()
                    .map(|refusal| refusal.name)
                    .collect();
            }
        }
        panic!("no quiet");
    }

    fn files(&self) -> Vec<(String, String)> {
        let all = self.folder.files().into_iter();
        all.map(|(path, (_, bytes))| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            (path.to_string(), text)
        })
        .collect()
    }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

/// > A name never overwrites another file's, nothing outside of the folder is read or written, and what one side cannot hold is told and left where it is.
#[tokio::test]
async fn of_two_names_that_the_folder_takes_for_one_the_second_is_told_of_and_left() {
    let bucket = MemoryBucket::new();
    for (name, content) in [("Note", "1"), ("note", "2"), ("Dir/x", "3"), ("dir/y", "4")] {
        put(&bucket, name, content);
    }
    let folding = Folding::on(&bucket);
    assert_eq!(folding.settle().await, ["dir/y", "note"]);
    assert_eq!(folding.files(), pairs(&[("Dir/x", "3"), ("Note", "1")]));
    // An edit goes on under the name that is here; the other is nobody's deletion.
    let path = |text: &str| TreePath::parse(text).unwrap();
    folding.folder.write(&path("Note"), "edited");
    put(&bucket, "note", "edited too");
    folding.settle().await;
    let there = |name: &str| {
        let key = format!("p/{name}");
        bucket
            .contents()
            .get(key.as_str())
            .map(|body| body.to_vec())
    };
    assert_eq!(there("Note"), Some(b"edited".to_vec()));
    assert_eq!(there("note"), Some(b"edited too".to_vec()));
    assert_eq!(there("dir/y"), Some(b"4".to_vec()));
    // Once there is room for it, it comes.
    remove(&bucket, "Note");
    assert_eq!(folding.settle().await, ["dir/y"]);
    let files = folding.files();
    assert!(
        files.contains(&("note".into(), "edited too".into())),
        "{files:?}"
    );
}

#[tokio::test]
async fn a_name_that_changes_its_case_elsewhere_changes_it_here() {
    let bucket = MemoryBucket::new();
    put(&bucket, "readme", "text");
    let folding = Folding::on(&bucket);
    folding.settle().await;
    remove(&bucket, "readme");
    put(&bucket, "README", "text");
    assert!(folding.settle().await.is_empty());
    assert_eq!(folding.files(), pairs(&[("README", "text")]));
    remove(&bucket, "README");
    put(&bucket, "Readme", "another text");
    assert!(folding.settle().await.is_empty());
    assert_eq!(folding.files(), pairs(&[("Readme", "another text")]));
}

/// The same on a disk, where this kernel has one of that kind.
#[tokio::test]
async fn on_a_real_disk_that_folds_case() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let mountpoint = tempfile::tempdir().unwrap();
    if let Err(reason) = mount_folding(image.path(), mountpoint.path()) {
        testkit::skip!("no disk that folds case: {reason}");
    }
    let done = scene(mountpoint.path()).await;
    let unmounted = Command::new("umount").arg(mountpoint.path()).status();
    assert!(unmounted.unwrap().success());
    done.unwrap();
}

/// What was found wrong is given back, so that the disk is unmounted first.
async fn scene(root: &Path) -> Result<(), String> {
    let bucket = MemoryBucket::new();
    put(&bucket, "Note", "1");
    put(&bucket, "note", "2");
    let mut a = Machine::on(&bucket);
    a.folder = tempfile::tempdir_in(root.join("folds")).unwrap();
    a.sync().await;
    let files = a.files();
    if files.len() != 1 || files.get("Note").map(String::as_str) != Some("1") {
        return Err(format!("{files:?}"));
    }
    remove(&bucket, "Note");
    remove(&bucket, "note");
    put(&bucket, "NOTE", "1");
    a.settle().await;
    let files = a.files();
    match files.contains_key("NOTE") && files.len() == 1 {
        true => Ok(()),
        false => Err(format!("{files:?}")),
    }
}

/// A small disk in a file, with a directory that does not tell cases apart.
fn mount_folding(image: &Path, mountpoint: &Path) -> Result<(), String> {
    fs::File::options()
        .write(true)
        .open(image)
        .and_then(|file| file.set_len(32 << 20))
        .map_err(|error| error.to_string())?;
    let run = |program: &str, args: &[&Path]| {
        let output = Command::new(program).args(args).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let first = said.lines().next().unwrap_or_default();
                Err(format!("{program}: {first}"))
            }
            Err(error) => Err(format!("{program}: {error}")),
        }
    };
    let make = ["-q", "-O", "casefold", "-E", "encoding=utf8"].map(Path::new);
    run("mkfs.ext4", &[&make[..], &[image]].concat())?;
    let mount = ["-o", "loop"].map(Path::new);
    run("mount", &[&mount[..], &[image, mountpoint]].concat())?;
    let folds = mountpoint.join("folds");
    let made = fs::create_dir(&folds).map_err(|error| error.to_string());
    let done = made.and_then(|()| run("chattr", &[Path::new("+F"), &folds]));
    if done.is_err() {
        let _ = Command::new("umount").arg(mountpoint).status();
    }
    done
}
