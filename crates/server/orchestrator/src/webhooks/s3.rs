//! Amazon's notifications (S3 User Guide, "Event message structure"), as MinIO, AWS and others
//! send them; and the same through EventBridge ("Using EventBridge"), which is how AWS reaches
//! an address outside.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::Notice;

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(alias = "eTag")]
    etag: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Bridged {
    detail_type: String,
    detail: Entity,
}

/// What Amazon sends once, when a notification is set up.
const TEST: &str = "s3:TestEvent";

pub(super) fn read(body: Value) -> Result<Vec<Notice>, serde_json::Error> {
    if body.get("detail-type").is_some() {
        return bridged(serde_json::from_value(body)?);
    }
    if body.get("Event").is_some_and(|event| event == TEST) {
        return Ok(Vec::new());
    }
    let notification: Notification = serde_json::from_value(body)?;
    Ok(notification
        .records
        .into_iter()
        .filter_map(record)
        .collect())
}

fn record(record: Record) -> Option<Notice> {
    // MinIO puts "s3:" before Amazon's names.
    let name = record.event_name.trim_start_matches("s3:");
    let gone = match name.split(':').next()? {
        "ObjectCreated" => false,
        "ObjectRemoved" | "LifecycleExpiration" => true,
        _ => return None,
    };
    Some(Notice {
        bucket: record.s3.bucket.name,
        key: decoded(&record.s3.object.key)?,
        etag: quoted(record.s3.object.etag).filter(|_| !gone),
        gone,
    })
}

/// EventBridge does not encode keys.
fn bridged(event: Bridged) -> Result<Vec<Notice>, serde_json::Error> {
    let gone = match event.detail_type.as_str() {
        "Object Created" => false,
        "Object Deleted" => true,
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Notice {
        bucket: event.detail.bucket.name,
        key: event.detail.object.key,
        etag: quoted(event.detail.object.etag).filter(|_| !gone),
        gone,
    }])
}

/// Keys are encoded as in a form: a plus is a space.
fn decoded(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    let decoded = percent_decode_str(&key).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// An ETag as requests have it: in quotes.
pub(super) fn quoted(etag: Option<String>) -> Option<String> {
    let etag = etag.filter(|etag| !etag.is_empty())?;
    Some(match etag.starts_with('"') {
        true => etag,
        false => format!("\"{etag}\""),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(name: &str, key: &str) -> Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
            "s3": {
                "bucket": { "name": "b", "arn": "arn:aws:s3:::b" },
                "object": { "key": key, "size": 1, "eTag": "0cc1", "sequencer": "0A" },
            },
        })
    }

    #[test]
    fn objects_that_came_and_went_are_read_and_others_left_out() {
        let body = json!({ "Records": [
            record("ObjectCreated:Put", "a+b/%C3%A9%2B.txt"),
            record("s3:ObjectCreated:CompleteMultipartUpload", "c"),
            record("ObjectRemoved:DeleteMarkerCreated", "d"),
            record("s3:ObjectAccessed:Get", "e"),
        ] });
        let seen = read(body).unwrap();
        let notice = |key: &str, gone: bool| Notice {
            bucket: "b".into(),
            key: key.into(),
            etag: (!gone).then(|| "\"0cc1\"".into()),
            gone,
        };
        let wanted = [
            notice("a b/é+.txt", false),
            notice("c", false),
            notice("d", true),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_test_event_says_nothing_and_another_form_is_refused() {
        let test = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" });
        assert_eq!(read(test).unwrap(), []);
        assert!(read(json!({ "Records": [{ "eventName": "ObjectCreated:Put" }] })).is_err());
        assert!(read(json!({ "events": [] })).is_err());
    }

    #[test]
    fn eventbridge_is_read_as_it_is() {
        let event = |kind: &str| {
            json!({
                "detail-type": kind, "source": "aws.s3",
                "detail": { "bucket": { "name": "b" }, "object": { "key": "a+b", "etag": "0cc1" } },
            })
        };
        let seen = read(event("Object Created")).unwrap();
        assert_eq!((seen[0].key.as_str(), seen[0].gone), ("a+b", false));
        assert!(read(event("Object Deleted")).unwrap()[0].gone);
        assert_eq!(read(event("Object Restore Completed")).unwrap(), []);
    }
}
