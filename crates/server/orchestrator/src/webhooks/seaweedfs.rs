//! SeaweedFS's notifications: what happens in its filer, of which `/buckets` is what S3 shows.
//! One server sends all of its buckets' (its `notification.toml`).

use serde::Deserialize;
use serde_json::Value;

use super::Notice;

#[derive(Deserialize)]
struct Notification {
    key: String,
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    old_entry: Option<Entry>,
    new_entry: Option<Entry>,
    #[serde(default)]
    new_parent_path: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_directory: bool,
}

/// Where the filer keeps the parts of uploads that are not finished.
const UPLOADS: &str = ".uploads/";

pub(super) fn read(body: Value) -> Result<Vec<Notice>, serde_json::Error> {
    let Notification { key, message } = serde_json::from_value(body)?;
    let mut seen = Vec::new();
    match (message.old_entry, message.new_entry) {
        (None, Some(new)) => seen.extend(notice(&key, &new, false)),
        (Some(old), None) => seen.extend(notice(&key, &old, true)),
        (Some(old), Some(new)) => {
            let moved = moved(&key, &message.new_parent_path, &new.name);
            if let Some(there) = &moved {
                seen.extend(notice(&key, &old, true));
                seen.extend(notice(there, &new, false));
            } else {
                seen.extend(notice(&key, &new, false));
            }
        }
        (None, None) => {}
    }
    Ok(seen)
}

/// Where an entry is now, if that is elsewhere. An update names the folder too.
fn moved(key: &str, parent: &str, name: &str) -> Option<String> {
    let there = format!("{}/{name}", parent.trim_end_matches('/'));
    (!parent.is_empty() && there != key).then_some(there)
}

/// Folders are the filer's own, not objects.
fn notice(path: &str, entry: &Entry, gone: bool) -> Option<Notice> {
    let (bucket, key) = path.strip_prefix("/buckets/")?.split_once('/')?;
    if entry.is_directory || key.is_empty() || key.starts_with(UPLOADS) {
        return None;
    }
    Some(Notice {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        etag: None,
        gone,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(key: &str, message: Value) -> Vec<(String, bool)> {
        let body = json!({ "key": key, "event_type": "any", "message": message });
        let notices = read(body).unwrap().into_iter();
        notices
            .map(|n| (format!("{}:{}", n.bucket, n.key), n.gone))
            .collect()
    }

    #[test]
    fn files_in_buckets_are_objects_and_nothing_else_is() {
        let file = json!({ "name": "x.txt" });
        let folder = json!({ "name": "a", "is_directory": true });
        let made = json!({ "new_entry": file, "new_parent_path": "/buckets/b/a" });
        assert_eq!(
            seen("/buckets/b/a/x.txt", made.clone()),
            [("b:a/x.txt".into(), false)]
        );
        let gone = json!({ "old_entry": file, "delete_chunks": true });
        assert_eq!(
            seen("/buckets/b/a/x.txt", gone),
            [("b:a/x.txt".into(), true)]
        );
        let changed =
            json!({ "old_entry": file, "new_entry": file, "new_parent_path": "/buckets/b/a" });
        assert_eq!(
            seen("/buckets/b/a/x.txt", changed),
            [("b:a/x.txt".into(), false)]
        );
        let renamed = json!({
            "old_entry": file, "new_entry": { "name": "y" }, "new_parent_path": "/buckets/c",
        });
        assert_eq!(
            seen("/buckets/b/a/x.txt", renamed),
            [("b:a/x.txt".into(), true), ("c:y".into(), false)]
        );
        assert_eq!(seen("/buckets/b/a", json!({ "new_entry": folder })), []);
        assert_eq!(seen("/buckets/b/.uploads/1/0001.part", made.clone()), []);
        assert_eq!(seen("/etc/iam/identity.json", made), []);
    }
}
