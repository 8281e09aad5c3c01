//! The tree on a bucket in memory: what programs do, and what must then be in the bucket.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bucket::Bucket;
use common::*;
use filesystem::{FsError, RenameMode, SetAttr};

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(key, body)| ((*key).to_owned(), (*body).to_owned()))
        .collect()
}

/// > Every file is one object: its key is the workspace's prefix and the file's path, its body the file's bytes.
#[tokio::test]
async fn a_file_is_an_object_with_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    ada.mkdir("notes").await.unwrap();
    ada.write("notes/a.md", b"hello").await.unwrap();
    ada.drain().await;
    assert_eq!(
        visible(&memory),
        pairs(&[("notes/", ""), ("notes/a.md", "hello")])
    );
    assert_eq!(ada.read("notes/a.md").await.unwrap(), b"hello");
    ada.append("notes/a.md", b" world").await.unwrap();
    ada.drain().await;
    assert_eq!(get(&*bucket, "notes/a.md").await.unwrap(), "hello world");
    ada.unlink("notes/a.md").await.unwrap();
    ada.rmdir("notes").await.unwrap();
    ada.drain().await;
    assert_eq!(visible(&memory), []);
}

/// > Names, sizes and times come from listings; no listing asks for each file.
/// > Nothing under `.artifacts/` at the workspace's root is shown.
/// > Another machine's change is seen within the profile's time, or within twice the time that listing its directory takes, where that is longer.
#[tokio::test]
async fn what_others_put_is_seen_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "docs/one", "1").await;
    put(&*bucket, "docs/deep/two", "22").await;
    put(&*bucket, ".artifacts/workspace.json", "{}").await;
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    assert_eq!(ada.names("").await.unwrap(), ["docs"]);
    assert_eq!(ada.names("docs").await.unwrap(), ["deep", "one"]);
    assert_eq!(ada.read("docs/deep/two").await.unwrap(), b"22");
    put(&*bucket, "docs/one", "uno").await;
    put(&*bucket, "docs/three", "333").await;
    memory.remove(&bucket::Key::new("docs/deep/two").unwrap());
    a_while().await;
    assert_eq!(ada.read("docs/one").await.unwrap(), b"uno");
    assert_eq!(ada.names("docs").await.unwrap(), ["one", "three"]);
    assert_eq!(memory.calls().head, 0, "a listing needs no HEAD");
}

/// > A directory is renamed at once; its objects are copied behind, and until then its files are read from where they are.
#[tokio::test]
async fn a_directory_is_renamed_at_once_and_copied_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for at in 0..30 {
        put(&*bucket, &format!("old/sub/{at}"), &at.to_string()).await;
    }
    let mut slow = settings(folder.path(), "ada");
    slow.upload_delay = Duration::from_millis(300);
    let ada = machine(&bucket, slow).await;
    ada.rename("old", "new").await.unwrap();
    assert_eq!(ada.names("").await.unwrap(), ["new"]);
    a_while().await;
    assert_eq!(
        ada.names("").await.unwrap(),
        ["new"],
        "a listing does not bring the old name back"
    );
    assert_eq!(
        ada.read("new/sub/7").await.unwrap(),
        b"7",
        "read from where it still is"
    );
    ada.write("new/sub/7", b"seven").await.unwrap();
    ada.write("old", b"a file now").await.unwrap();
    ada.drain().await;
    let keys = visible(&memory);
    assert_eq!(keys.len(), 31, "{keys:?}");
    assert_eq!(get(&*bucket, "new/sub/7").await.unwrap(), "seven");
    assert_eq!(get(&*bucket, "new/sub/8").await.unwrap(), "8");
    assert_eq!(get(&*bucket, "old").await.unwrap(), "a file now");
}

/// > Two names can be exchanged in one step.
#[tokio::test]
async fn names_are_swapped_without_losing_either() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "a", "was a").await;
    put(&*bucket, "b", "was b").await;
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    let root = filesystem::ROOT;
    ada.names("").await.unwrap();
    ada.fs
        .rename(root, "a", root, "b", RenameMode::Exchange)
        .await
        .unwrap();
    assert_eq!(ada.read("a").await.unwrap(), b"was b");
    ada.drain().await;
    assert_eq!(visible(&memory), pairs(&[("a", "was b"), ("b", "was a")]));
}

/// > Every upload names the version it is based on; when the bucket holds another, the bucket's keeps the name and this machine's becomes a conflict copy beside it.
#[tokio::test]
async fn both_versions_of_a_conflict_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "plan.md", "base").await;
    let mut slow = settings(folder.path(), "ada");
    slow.upload_delay = Duration::from_millis(200);
    let ada = machine(&bucket, slow).await;
    ada.write("plan.md", b"mine").await.unwrap();
    put(&*bucket, "plan.md", "theirs").await;
    let status = ada.drain().await;
    assert_eq!(status.conflicts, 1);
    let found = visible(&memory);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].0.starts_with("plan.conflict-") && found[0].0.ends_with("-ada.md"),
        "{found:?}"
    );
    assert_eq!(found[0].1, "mine");
    assert_eq!(found[1], ("plan.md".to_owned(), "theirs".to_owned()));
    assert_eq!(ada.read("plan.md").await.unwrap(), b"theirs");
    assert_eq!(ada.read(&found[0].0).await.unwrap(), b"mine");
}

/// > What was closed survives a crash of the mount: the next mount takes it up.
#[tokio::test]
async fn what_was_closed_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "kept", "old").await;
    put(&*bucket, "moved", "m").await;
    put(&*bucket, "dropped", "d").await;
    let mut never = settings(folder.path(), "ada");
    never.upload_delay = Duration::from_secs(3600);
    {
        let ada = machine(&bucket, never.clone()).await;
        ada.write("kept", b"new").await.unwrap();
        ada.mkdir("d").await.unwrap();
        ada.write("d/fresh", b"fresh").await.unwrap();
        ada.rename("moved", "d/moved").await.unwrap();
        ada.unlink("dropped").await.unwrap();
        // No close, no drain: as after kill -9.
    }
    assert_eq!(visible(&memory).len(), 3, "nothing was uploaded yet");
    let again = machine(&bucket, never).await;
    assert_eq!(again.names("").await.unwrap(), ["d", "kept"]);
    assert_eq!(again.read("kept").await.unwrap(), b"new");
    assert_eq!(again.read("d/moved").await.unwrap(), b"m");
    again.drain().await;
    assert_eq!(
        visible(&memory),
        pairs(&[
            ("d/", ""),
            ("d/fresh", "fresh"),
            ("d/moved", "m"),
            ("kept", "new")
        ])
    );
}

/// > Mode, owner, a chosen modification time and extended attributes reach other machines through the bucket's attribute index, and hold only for the version they were set on.
#[tokio::test]
async fn attributes_reach_another_machine_without_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    ada.mkdir("bin").await.unwrap();
    ada.write("bin/run", b"#!").await.unwrap();
    let ino = ada.walk("bin/run").await.unwrap().attr.ino;
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    let change = SetAttr {
        mode: Some(0o755),
        mtime: Some(then),
        ..SetAttr::default()
    };
    ada.fs.setattr(ino, change).await.unwrap();
    ada.fs
        .setxattr(ino, "user.tag", b"x", filesystem::XattrMode::Any)
        .await
        .unwrap();
    ada.drain().await;
    let bob = machine(&bucket, settings(folder.path(), "bob")).await;
    let attr = bob.walk("bin/run").await.unwrap().attr;
    assert_eq!((attr.mode, attr.mtime), (0o755, then));
    assert_eq!(bob.fs.getxattr(attr.ino, "user.tag").await.unwrap(), b"x");
    assert_eq!(memory.calls().head, 0);
    // Another version is another file: the index entry no longer counts.
    put(&*bucket, "bin/run", "changed").await;
    a_while().await;
    assert_eq!(bob.walk("bin/run").await.unwrap().attr.mode, 0o644);
}

/// > A key that cannot be a file name is shown under an escaped name that begins with `%!`, and opens as what it is.
#[tokio::test]
async fn keys_that_cannot_be_names_are_shown_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let (_, bucket) = memory();
    for key in [
        "a//b", "x/../y", "n/.", "both", "both/in", "c\u{1}d", "%!odd",
    ] {
        put(&*bucket, key, key).await;
    }
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    assert_eq!(
        ada.names("").await.unwrap(),
        [
            "%!%25!odd",
            "%!file%21both",
            "a",
            "both",
            "c\u{1}d",
            "n",
            "x"
        ]
    );
    assert_eq!(ada.read("a/%!/b").await.unwrap(), b"a//b");
    assert_eq!(ada.read("x/%!%2E%2E/y").await.unwrap(), b"x/../y");
    assert_eq!(ada.read("%!file%21both").await.unwrap(), b"both");
    assert_eq!(ada.write("%!mine", b"").await, Err(FsError::Invalid));
}

/// > A file opened for writing and closed unchanged is not uploaded.
#[tokio::test]
async fn an_unchanged_file_is_not_uploaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "a", "content").await;
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    ada.read("a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(80)).await;
    let before = memory.calls().put;
    let ino = ada.walk("a").await.unwrap().attr.ino;
    let opened = ada.fs.open_file(ino, WRITE).await.unwrap();
    ada.fs.flush(opened.handle).await.unwrap();
    ada.fs.release(opened.handle).await;
    assert_eq!(ada.fs.status().pending_changes, 0);
    ada.drain().await;
    assert_eq!(memory.calls().put, before);
}

/// > A symbolic link is an object `NAME.rclonelink` whose body is the target.
#[tokio::test]
async fn a_link_is_an_object_with_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    ada.fs
        .symlink(filesystem::ROOT, "latest", "v/1", OWNER)
        .await
        .unwrap();
    ada.drain().await;
    assert_eq!(visible(&memory), pairs(&[("latest.rclonelink", "v/1")]));
    let bob = machine(&bucket, settings(folder.path(), "bob")).await;
    let ino = bob.walk("latest").await.unwrap().attr.ino;
    assert_eq!(bob.fs.readlink(ino).await.unwrap(), "v/1");
}

/// > One open file reads one version of an object: when that is gone, a read fails rather than mix two.
#[tokio::test]
async fn large_files_are_read_in_parts_and_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    let old: String = "o".repeat(20 << 20);
    put(&*bucket, "big", &old).await;
    let mut patient = settings(folder.path(), "ada");
    patient.attr_ttl = Duration::from_secs(60);
    let ada = machine(&bucket, patient).await;
    let ino = ada.walk("big").await.unwrap().attr.ino;
    let opened = ada.fs.open_file(ino, READ).await.unwrap();
    let first = ada.fs.read(opened.handle, 19 << 20, 4096).await.unwrap();
    assert!(first.iter().all(|byte| *byte == b'o'));
    put(&*bucket, "big", &"n".repeat(20 << 20)).await;
    let mixed = ada.fs.read(opened.handle, 8 << 20, 4096).await;
    assert!(
        matches!(mixed, Err(FsError::Changed)) || mixed.unwrap().iter().all(|byte| *byte == b'o')
    );
    ada.fs.release(opened.handle).await;
    drop(memory);
}

/// > With the bucket away, cached files are read, changes are taken and kept, and what is not here fails in bounded time.
#[tokio::test]
async fn an_outage_keeps_what_is_here_and_refuses_the_rest_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_memory, inner) = memory();
    put(&*inner, "here", "cached").await;
    put(&*inner, "there", "not cached").await;
    let faulty = bucket::faults::Faulty::new(Arc::clone(&inner));
    let bucket: Arc<dyn Bucket> = Arc::new(faulty.clone());
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    assert_eq!(ada.read("here").await.unwrap(), b"cached");
    faulty.set_down(true);
    a_while().await;
    assert_eq!(ada.read("here").await.unwrap(), b"cached");
    assert_eq!(ada.read("there").await, Err(FsError::Unreachable));
    ada.write("fresh", b"written offline").await.unwrap();
    assert_eq!(ada.fs.status().health, filesystem::Health::Offline);
    faulty.set_down(false);
    ada.drain().await;
    assert_eq!(get(&*inner, "fresh").await.unwrap(), "written offline");
}

/// > A directory that was made here, or whose last entry was removed here, exists as a zero-byte object `path/`.
#[tokio::test]
async fn an_empty_directory_goes_on_existing() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "implied/only", "1").await;
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    ada.mkdir("made").await.unwrap();
    ada.unlink("implied/only").await.unwrap();
    ada.drain().await;
    assert_eq!(visible(&memory), pairs(&[("implied/", ""), ("made/", "")]));
}

/// > What another machine changed is not deleted by a delete that did not know of it.
#[tokio::test]
async fn a_delete_spares_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "a", "old").await;
    let mut slow = settings(folder.path(), "ada");
    slow.upload_delay = Duration::from_millis(100);
    let ada = machine(&bucket, slow).await;
    ada.unlink("a").await.unwrap();
    put(&*bucket, "a", "new").await;
    ada.drain().await;
    assert_eq!(visible(&memory), pairs(&[("a", "new")]));
    a_while().await;
    assert_eq!(ada.read("a").await.unwrap(), b"new");
}

/// > Of two machines that write one file at the same time, every version that was closed is in the bucket, under the name or as a conflict copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_lose_no_version_in_500_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    // Nobody uploads before both have closed: otherwise the later writer would knowingly
    // replace the earlier one's version.
    let slow = |machine| {
        let mut slow = settings(folder.path(), machine);
        slow.upload_delay = Duration::from_secs(60);
        slow
    };
    let ada = machine(&bucket, slow("ada")).await;
    let bob = machine(&bucket, slow("bob")).await;
    for round in 0..500 {
        let name = format!("f{}.txt", round % 7);
        let (mine, theirs) = (format!("ada {round}"), format!("bob {round}"));
        let (one, other) = tokio::join!(
            ada.write(&name, mine.as_bytes()),
            bob.write(&name, theirs.as_bytes())
        );
        one.unwrap();
        other.unwrap();
        tokio::join!(ada.drain(), bob.drain());
        let bodies: Vec<String> = visible(&memory).into_iter().map(|(_, body)| body).collect();
        assert!(
            bodies.contains(&mine),
            "round {round}: {mine} is lost: {:?}",
            ada.fs.status()
        );
        assert!(bodies.contains(&theirs), "round {round}: {theirs} is lost");
    }
}

/// > Names that nobody uses are dropped when they take more memory than `--memory-limit` allows, and listed again when somebody does.
#[tokio::test]
async fn unused_names_are_dropped_and_come_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (_memory, bucket) = memory();
    for at in 0..600 {
        put(&*bucket, &format!("d{}/{at}", at % 3), &at.to_string()).await;
    }
    let mut small = settings(folder.path(), "ada");
    small.memory_limit = 100 << 10;
    let ada = machine(&bucket, small).await;
    let before: Vec<_> = [0, 1, 2].map(|d| format!("d{d}")).into();
    let mut numbers = Vec::new();
    for directory in &before {
        assert_eq!(ada.names(directory).await.unwrap().len(), 200);
        numbers.push(ada.inos(directory).await);
    }
    assert!(ada.fs.statfs().entries > 600);
    tokio::time::timeout(Duration::from_secs(20), async {
        while ada.fs.statfs().entries > 200 {
            a_while().await;
        }
    })
    .await
    .expect("names are dropped");
    assert_eq!(
        ada.rmdir("d1").await,
        Err(FsError::NotEmpty),
        "what was dropped is still there"
    );
    for (directory, numbers) in before.iter().zip(numbers) {
        assert_eq!(
            ada.inos(directory).await,
            numbers,
            "with the same inode numbers"
        );
    }
    assert_eq!(ada.read("d2/599").await.unwrap(), b"599");
    ada.rename("d0", "moved").await.unwrap();
    ada.drain().await;
    assert_eq!(get(&*bucket, "moved/597").await.unwrap(), "597");
    assert_eq!(get(&*bucket, "d0/597").await, None);
}

/// > Mode, owner and times that rclone, s3fs or geesefs wrote into an object's metadata show once the file was read, or with `--attributes head` when it is looked up by name; no listing asks for them.
#[tokio::test]
async fn what_other_tools_wrote_into_metadata_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for key in ["read", "asked"] {
        let metadata = [
            ("mode", "33261"),
            ("uid", "12"),
            ("gid", "34"),
            ("mtime", "1600000000"),
        ];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = bucket::PutOptions {
            metadata: metadata.into_iter().collect(),
            ..bucket::PutOptions::default()
        };
        let body = bucket::Body::Bytes("x".into());
        bucket
            .put(&bucket::Key::new(key).unwrap(), body, options)
            .await
            .unwrap();
    }
    let expected = |attr: &filesystem::Attr| {
        let mtime = attr.mtime.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (attr.mode, attr.uid, attr.gid, mtime.as_secs()) == (0o755, 12, 34, 1_600_000_000)
    };
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    assert!(!expected(&ada.walk("read").await.unwrap().attr));
    ada.read("read").await.unwrap();
    assert!(expected(&ada.walk("read").await.unwrap().attr));
    assert!(!expected(&ada.walk("asked").await.unwrap().attr));
    assert_eq!(memory.calls().head, 0);
    let mut asking = settings(folder.path(), "bob");
    asking.attributes = filesystem::Attributes::Head;
    let bob = machine(&bucket, asking).await;
    bob.names("").await.unwrap();
    assert_eq!(memory.calls().head, 0, "no listing asks");
    assert!(expected(&bob.walk("asked").await.unwrap().attr));
    bob.walk("asked").await.unwrap();
    assert_eq!(memory.calls().head, 1, "once for each version");
}

/// > Mode, owner, a chosen modification time and extended attributes reach other machines through the bucket's attribute index, and hold only for the version they were set on.
#[tokio::test]
async fn every_change_of_attributes_elsewhere_is_seen_for_files_and_directories() {
    let folder = tempfile::tempdir().unwrap();
    let (_memory, bucket) = memory();
    let ada = machine(&bucket, settings(folder.path(), "ada")).await;
    for path in ["top", "top/middle", "top/middle/low", "top/other"] {
        ada.mkdir(path).await.unwrap();
    }
    ada.write("top/middle/low/file", b"1").await.unwrap();
    ada.write("top/other/file", b"1").await.unwrap();
    let paths = ["top/middle", "top/middle/low", "top/middle/low/file"];
    let bob = machine(&bucket, settings(folder.path(), "bob")).await;
    for (round, mode) in [0o700, 0o750, 0o711].into_iter().enumerate() {
        for path in paths {
            let ino = ada.walk(path).await.unwrap().attr.ino;
            let change = filesystem::SetAttr {
                mode: Some(mode),
                ..filesystem::SetAttr::default()
            };
            ada.fs.setattr(ino, change).await.unwrap();
        }
        ada.drain().await;
        a_while().await;
        // As `ls -R` goes: what a walk brings ahead must be told too.
        for path in ["", "top", "top/middle", "top/middle/low", "top/other"] {
            bob.names(path).await.unwrap();
        }
        for path in paths {
            let seen = bob.walk(path).await.unwrap().attr.mode;
            assert_eq!(seen & 0o777, mode, "{path}, change {}", round + 1);
        }
    }
}
