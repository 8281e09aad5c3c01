//! Conflict copies: found by their names, settled in the bucket.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use mounting::Site;
use serde_json::Value;

const COPY: &str = "d/notes.conflict-20261122-201501-ada.md";

fn site() -> Site {
    let site = Site::new();
    site.put_object("d/notes.md", "theirs");
    site.put_object(COPY, "mine");
    site
}

#[test]
fn copies_are_listed_beside_their_originals() {
    let site = site();
    let said = site.machine.run("conflicts list work --format json").ok();
    let list: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["copy"]["path"], COPY);
    assert_eq!(list[0]["original"], "d/notes.md");
    assert_eq!(
        (&list[0]["copy"]["size"], &list[0]["theirs"]["size"]),
        (&4.into(), &6.into())
    );
    let shown = site
        .machine
        .run(&format!("conflicts show work {COPY}"))
        .ok();
    assert!(
        shown.contains("d/notes.md") && shown.contains("4 B"),
        "{shown}"
    );
}

#[test]
fn each_way_of_settling_leaves_what_it_says() {
    let text = |site: &Site, path| {
        site.object(path)
            .map(|body| String::from_utf8(body).unwrap())
    };
    for (keep, original, other) in [
        ("mine", "mine", None),
        ("theirs", "theirs", None),
        ("both", "theirs", Some("mine")),
    ] {
        let site = site();
        site.machine
            .run(&format!("conflicts resolve work {COPY} --keep {keep}"))
            .ok();
        assert_eq!(
            text(&site, "d/notes.md").as_deref(),
            Some(original),
            "{keep}"
        );
        assert_eq!(text(&site, "d/notes-2.md").as_deref(), other, "{keep}");
        assert_eq!(text(&site, COPY), None, "{keep}");
        let said = site.machine.run("conflicts list work");
        assert!(said.err.contains("no conflicts"), "{}", said.err);
    }
}

#[test]
fn what_is_no_conflict_copy_is_refused() {
    let site = site();
    for path in ["d/none.md", "d/gone.conflict-20261122-201501-ada.md"] {
        site.machine
            .run(&format!("conflicts resolve work {path} --keep mine"))
            .refused(5, "is no conflict copy", "artifacts conflicts list work");
    }
    assert_eq!(site.object("d/notes.md").as_deref(), Some(&b"theirs"[..]));
}
