//! Keys that a stranger's bucket may hold.

use super::lab::{Lab, ok};
use crate::{Condition, CopyOptions, Key};

/// Everything that can be done with a key, done with each of these, all of them present.
async fn each_is_kept(lab: Lab, names: &[&str]) {
    are_stored(&lab, names, |name| format!("body of {name:?}")).await;
    is_copied(&lab, names[0]).await;
    are_deleted(&lab, names).await;
}

async fn are_stored(lab: &Lab, names: &[&str], body: fn(&str) -> String) {
    for name in names {
        lab.put(name, body(name)).await;
    }
    for name in names {
        assert_eq!(lab.read(name).await, body(name));
        assert_eq!(lab.head(name).await.key, lab.key(name));
    }
    assert_eq!(lab.all_keys().await, sorted(names));
}

async fn is_copied(lab: &Lab, name: &str) {
    let (key, copy) = (lab.key(name), lab.key("copy"));
    ok(
        lab.bucket.copy(&key, &copy, CopyOptions::default()).await,
        "copy from",
    );
    ok(
        lab.bucket.copy(&copy, &key, CopyOptions::default()).await,
        "copy to",
    );
    ok(
        lab.bucket.delete(&copy, Condition::None).await,
        "delete the copy",
    );
}

/// Half of them one by one, half of them at once.
async fn are_deleted(lab: &Lab, names: &[&str]) {
    let (singly, together) = names.split_at(names.len() / 2);
    for name in singly {
        ok(
            lab.bucket.delete(&lab.key(name), Condition::None).await,
            &format!("delete {name:?}"),
        );
    }
    assert_eq!(lab.all_keys().await, sorted(together));
    let together: Vec<Key> = together.iter().map(|name| lab.key(name)).collect();
    for outcome in ok(lab.bucket.delete_many(&together).await, "delete_many") {
        ok(outcome.result, &format!("delete {:?}", outcome.key));
    }
    assert_eq!(lab.all_keys().await, Vec::<String>::new());
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names
}

pub(super) async fn keys_with_empty_segments(lab: Lab) {
    each_is_kept(lab, &["a/b", "a//b", "a///b", "/a", "//", "x//"]).await;
}

pub(super) async fn keys_with_dot_segments(lab: Lab) {
    each_is_kept(
        lab,
        &["a/./b", "a/../b", "a/..", "...", "a/.b", "b", "c/.", "a/b"],
    )
    .await;
}

/// What the product itself writes: a folder that must exist while it is empty.
pub(super) async fn keys_that_end_in_a_slash(lab: Lab) {
    let names = ["folder/", "folder/sub/", "other/", "deep/er/"];
    are_stored(&lab, &names, |_| String::new()).await;
    are_deleted(&lab, &names).await;
}

pub(super) async fn a_key_that_ends_in_a_slash_can_be_copied(lab: Lab) {
    lab.put("folder/", "").await;
    is_copied(&lab, "folder/").await;
}

pub(super) async fn a_key_that_ends_in_a_slash_can_have_a_body(lab: Lab) {
    each_is_kept(lab, &["folder/", "folder/file"]).await;
}

pub(super) async fn keys_with_control_characters(lab: Lab) {
    let names = [
        "a\u{1}b",
        "tab\t",
        "line\nline",
        "cr\r",
        "\u{7f}",
        "esc\u{1b}[31m",
        "\u{85}",
    ];
    each_is_kept(lab, &names).await;
}

pub(super) async fn keys_with_reserved_characters(lab: Lab) {
    let names = [
        "a b",
        "a+b",
        "a%2Bb",
        "a%20b",
        "100%",
        "q?x=1&y",
        "h#x",
        "quo\"te",
        "it's",
        "<a>&amp;",
        "semi;colon,comma",
        "star*",
        "~tilde!",
        "(brackets)[]{}",
        "|pipe^",
        "`tick`",
        " edge ",
        "=eq@at:colon$",
    ];
    each_is_kept(lab, &names).await;
}

pub(super) async fn keys_in_every_script(lab: Lab) {
    // One name composed and decomposed: two keys.
    let names = [
        "caf\u{e9}",
        "cafe\u{301}",
        "日本語/ファイル",
        "עברית",
        "🙂/🙃",
        "\u{10fffd}",
        "\u{fffd}",
    ];
    each_is_kept(lab, &names).await;
}

pub(super) async fn keys_with_backslashes(lab: Lab) {
    each_is_kept(lab, &["back\\slash", "a/\\b\\", "\\"]).await;
}

/// Segments as long as a file system takes them, as deep as a key goes.
pub(super) async fn keys_of_1024_bytes(lab: Lab) {
    let room = Key::MAX_BYTES - lab.prefix.len();
    let deep = filled_with("d/", room);
    let wide = filled_with(&format!("{}/", "é".repeat(127)), room);
    assert_eq!(lab.key(&wide).as_str().len(), Key::MAX_BYTES);
    each_is_kept(lab, &[&deep, &wide]).await;
}

pub(super) async fn a_segment_of_1000_bytes(lab: Lab) {
    let room = Key::MAX_BYTES - lab.prefix.len();
    each_is_kept(lab, &["n".repeat(room).as_str(), "short"]).await;
}

/// The pattern over and over, and `x` to the end.
fn filled_with(pattern: &str, len: usize) -> String {
    let mut text = pattern.repeat(len / pattern.len());
    if text.len() == len {
        text.pop();
    }
    let missing = len - text.len();
    text.push_str(&"x".repeat(missing));
    text
}

pub(super) async fn a_key_that_is_another_ones_folder(lab: Lab) {
    each_is_kept(lab, &["a", "a/b", "a/b/c", "a/"]).await;
}
