//! Pages, prefixes, order.

use futures::{StreamExt, stream};

use super::lab::Lab;
use crate::{Condition, ListRequest};

async fn filled(lab: &Lab, names: &[&str]) {
    for name in names {
        lab.put(name, "x").await;
    }
}

fn prefixed(prefix: &str) -> ListRequest {
    ListRequest {
        prefix: prefix.into(),
        ..ListRequest::default()
    }
}

fn delimited(prefix: &str) -> ListRequest {
    ListRequest {
        delimiter: Some('/'),
        ..prefixed(prefix)
    }
}

pub(super) async fn a_prefix_need_not_end_at_a_slash(lab: Lab) {
    filled(&lab, &["abc", "abd/x", "ab", "ac", "b"]).await;
    assert_eq!(lab.listed(prefixed("ab")).await.0, ["ab", "abc", "abd/x"]);
    let (keys, prefixes) = lab.listed(delimited("ab")).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["ab".into(), "abc".into()], vec!["abd/".into()])
    );
}

pub(super) async fn a_listing_is_in_byte_order(lab: Lab) {
    // U+10000 is after U+FF5E in UTF-8 and before it in UTF-16; `-` and `/` are before `0`.
    let mut names = vec![
        "a-b",
        "a/b",
        "a0",
        "A",
        "a",
        "Z",
        "é",
        "\u{ff5e}",
        "\u{10000}",
        "a.b",
    ];
    let without_folder: Vec<&str> = names.iter().copied().filter(|name| *name != "a").collect();
    filled(&lab, &without_folder).await;
    names.retain(|name| *name != "a");
    names.sort_unstable();
    assert_eq!(lab.all_keys().await, names);
}

pub(super) async fn pages_join_without_a_gap(lab: Lab) {
    let names: Vec<String> = (0..25).map(|i| format!("{}/{i:02}", i % 3)).collect();
    filled(&lab, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut names = names;
    names.sort_unstable();
    for max in [1, 2, 7, 24, 25, 26] {
        let request = ListRequest {
            max_keys: Some(max),
            ..ListRequest::default()
        };
        let (keys, _, next) = lab.page(request.clone()).await;
        assert_eq!(
            keys,
            names[..names.len().min(max as usize)],
            "the first page of {max}"
        );
        assert_eq!(next.is_some(), max < 25, "whether there is more than {max}");
        assert_eq!(lab.listed(request).await.0, names, "pages of {max}");
    }
    let none = ListRequest {
        max_keys: Some(0),
        ..ListRequest::default()
    };
    assert_eq!(lab.page(none).await, (vec![], vec![], None));
}

pub(super) async fn a_delimiter_rolls_up(lab: Lab) {
    filled(&lab, &["a/1", "a/2", "a/b/3", "c", "d/4", "e f/+5"]).await;
    let (keys, prefixes) = lab.listed(delimited("")).await;
    assert_eq!(
        (keys, prefixes),
        (
            vec!["c".to_owned()],
            vec!["a/".into(), "d/".into(), "e f/".into()]
        )
    );
    let (keys, prefixes) = lab.listed(delimited("a/")).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["a/1".into(), "a/2".into()], vec!["a/b/".to_owned()])
    );
}

pub(super) async fn pages_of_folders_join_without_a_gap(lab: Lab) {
    for i in 0..9 {
        filled(
            &lab,
            &[&format!("d{i}/a"), &format!("d{i}/b"), &format!("f{i}")],
        )
        .await;
    }
    let folders: Vec<String> = (0..9).map(|i| format!("d{i}/")).collect();
    let files: Vec<String> = (0..9).map(|i| format!("f{i}")).collect();
    for max in [1, 2, 5, 17, 18] {
        let request = ListRequest {
            max_keys: Some(max),
            ..delimited("")
        };
        let (keys, prefixes, _) = lab.page(request.clone()).await;
        assert!(
            keys.len() + prefixes.len() <= max as usize,
            "{keys:?} {prefixes:?}"
        );
        assert_eq!(
            lab.listed(request).await,
            (files.clone(), folders.clone()),
            "pages of {max}"
        );
    }
}

pub(super) async fn a_delimiter_can_be_any_character(lab: Lab) {
    filled(&lab, &["a-1", "a-2", "b-", "c"]).await;
    let request = ListRequest {
        delimiter: Some('-'),
        ..prefixed("")
    };
    let (keys, prefixes) = lab.listed(request).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["c".to_owned()], vec!["a-".into(), "b-".into()])
    );
}

pub(super) async fn a_listing_starts_after_a_key(lab: Lab) {
    filled(&lab, &["a", "b", "c", "d/e", "f"]).await;
    let after = |after: &str| ListRequest {
        start_after: Some(after.into()),
        ..prefixed("")
    };
    assert_eq!(lab.listed(after("b")).await.0, ["c", "d/e", "f"]);
    assert_eq!(lab.listed(after("bb")).await.0, ["c", "d/e", "f"]);
    assert_eq!(lab.listed(after("d/e")).await.0, ["f"]);
    assert_eq!(lab.listed(after("f")).await.0, Vec::<String>::new());
    let paged = ListRequest {
        max_keys: Some(2),
        ..after("a")
    };
    assert_eq!(lab.listed(paged).await.0, ["b", "c", "d/e", "f"]);
}

pub(super) async fn a_listing_of_folders_starts_after_a_key(lab: Lab) {
    filled(&lab, &["a/1", "a/2", "b", "c/1", "d"]).await;
    let after = |after: &str| ListRequest {
        start_after: Some(after.into()),
        ..delimited("")
    };
    let (keys, prefixes) = lab.listed(after("b")).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["d".to_owned()], vec!["c/".to_owned()])
    );
    let (keys, prefixes) = lab.listed(after("a/1")).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["b".to_owned(), "d".into()], vec!["c/".to_owned()])
    );
    let (keys, prefixes) = lab.listed(after("a/")).await;
    assert_eq!(
        (keys, prefixes),
        (vec!["b".to_owned(), "d".into()], vec!["c/".to_owned()])
    );
}

pub(super) async fn a_listing_of_nothing_is_empty(lab: Lab) {
    lab.put("f", "x").await;
    assert_eq!(lab.page(prefixed("no such")).await, (vec![], vec![], None));
    assert_eq!(lab.page(delimited("f/")).await, (vec![], vec![], None));
    lab.bucket
        .delete(&lab.key("f"), Condition::None)
        .await
        .unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(lab.page(prefixed("")).await, (vec![], vec![], None));
}

pub(super) async fn pages_of_a_thousand(lab: Lab) {
    let names: Vec<String> = (0..1003).map(|i| format!("{i:04}")).collect();
    let put = |name: String| {
        let lab = lab.clone();
        async move { lab.put(&name, "").await }
    };
    let puts = names.clone().into_iter().map(put);
    stream::iter(puts)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    let (keys, _, next) = lab.page(ListRequest::default()).await;
    assert_eq!(keys, names[..1000]);
    assert!(next.is_some());
    assert_eq!(lab.all_keys().await, names);
    let keys: Vec<_> = names.iter().map(|name| lab.key(name)).collect();
    let gone = lab.bucket.delete_many(&keys[..1000]).await;
    assert_eq!(gone.unwrap_or_else(|e| panic!("{e:?}")).len(), 1000);
    assert_eq!(lab.all_keys().await, names[1000..]);
}
