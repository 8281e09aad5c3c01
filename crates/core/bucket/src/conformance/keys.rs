//! Keys that a stranger's bucket may hold.

use super::lab::{Lab, ok};
use crate::{Condition, CopyOptions, Key};

/// Everything that can be done with a key, done with each of these, all of them present.
async fn each_is_kept(lab: Lab, names: &[&str]) {
    for name in names {
        lab.put(name, format!("body of {name:?}")).await;
    }
    for name in names {
        assert_eq!(lab.read(name).await, format!("body of {name:?}"));
        assert_eq!(lab.head(name).await.key, lab.key(name));
    }
    assert_eq!(lab.all_keys().await, sorted(names));
    let (first, copy) = (lab.key(names[0]), lab.key("copy"));
    ok(lab.bucket.copy(&first, &copy, CopyOptions::default()).await, "copy from");
    ok(lab.bucket.copy(&copy, &first, CopyOptions::default()).await, "copy to");
    let (singly, together) = names.split_at(names.len() / 2);
    for name in singly {
        ok(
            lab.bucket.delete(&lab.key(name), Condition::None).await,
            &format!("delete {name:?}"),
        );
    }
    let mut left = together.to_vec();
    left.push("copy");
    assert_eq!(lab.all_keys().await, sorted(&left));
    let together: Vec<Key> = together.iter().map(|name| lab.key(name)).collect();
    for outcome in ok(lab.bucket.delete_many(&together).await, "delete_many") {
        ok(outcome.result, &format!("delete {:?}", outcome.key));
    }
    assert_eq!(lab.all_keys().await, ["copy"]);
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

pub(super) async fn keys_that_end_in_a_slash(lab: Lab) {
    each_is_kept(lab, &["folder/", "folder/file", "other/", "deep/er/"]).await;
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
        "back\\slash",
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

pub(super) async fn keys_of_1024_bytes(lab: Lab) {
    let room = Key::MAX_BYTES - lab.prefix.len();
    let flat = "n".repeat(room);
    let mut deep = "d/".repeat(room / 2);
    deep.push_str(&"x".repeat(room - deep.len()));
    let wide = format!(
        "{}{}",
        "é".repeat((room - 1) / 2),
        "y".repeat(1 + (room - 1) % 2)
    );
    let names = [flat.as_str(), deep.as_str(), wide.as_str()];
    assert!(
        names
            .iter()
            .all(|name| lab.key(name).as_str().len() == Key::MAX_BYTES)
    );
    each_is_kept(lab, &names).await;
}

pub(super) async fn a_key_that_is_another_ones_folder(lab: Lab) {
    each_is_kept(lab, &["a", "a/b", "a/b/c", "a/"]).await;
}
