//! Tigris's notifications (its documentation, "Object Notifications").

use serde::Deserialize;
use serde_json::Value;

use super::Notice;
use super::s3::quoted;

#[derive(Deserialize)]
struct Notification {
    events: Vec<Happening>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Happening {
    event_name: String,
    bucket: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(rename = "eTag")]
    etag: Option<String>,
}

pub(super) fn read(body: Value) -> Result<Vec<Notice>, serde_json::Error> {
    let notification: Notification = serde_json::from_value(body)?;
    Ok(notification.events.into_iter().filter_map(notice).collect())
}

/// More names are announced there for the future.
fn notice(event: Happening) -> Option<Notice> {
    let gone = match event.event_name.as_str() {
        "OBJECT_DELETED" => true,
        name if name.starts_with("OBJECT_CREATED") => false,
        _ => return None,
    };
    Some(Notice {
        bucket: event.bucket,
        key: event.object.key,
        etag: quoted(event.object.etag).filter(|_| !gone),
        gone,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_that_came_and_went_are_read_and_others_left_out() {
        let event = |name: &str, key: &str| {
            json!({
                "eventVersion": "1", "eventSource": "tigris", "eventName": name,
                "eventTime": "2026-11-22T12:00:00Z", "bucket": "b",
                "object": { "key": key, "size": 7, "eTag": "0cc1" },
            })
        };
        let body = json!({ "events": [
            event("OBJECT_CREATED_PUT", "a+b %"),
            event("OBJECT_DELETED", "c"),
            event("OBJECT_TAGGED", "d"),
        ] });
        let seen = read(body).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].key, "a+b %", "keys are not encoded");
        assert_eq!(seen[0].etag.as_deref(), Some("\"0cc1\""));
        assert!(seen[1].gone && seen[1].etag.is_none());
        assert!(read(json!({ "Records": [] })).is_err());
    }
}
