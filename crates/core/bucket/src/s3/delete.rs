//! DeleteObject and DeleteObjects.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, Error as KeyFailure, ObjectIdentifier};
use futures::{StreamExt, stream};

use super::{S3, condition_headers};
use crate::{Condition, DeleteOutcome, Error, Key, Result};

/// The most keys of one DeleteObjects (S3 API Reference).
const MOST: usize = 1000;

/// Single deletes in flight, where keys cannot go into one request.
const AT_ONCE: usize = 16;

impl S3 {
    /// Removes one object.
    pub(super) async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        if condition == Condition::Absent {
            return Err(Error::Invalid {
                reason: format!("delete {key} only if it is absent"),
            });
        }
        let (if_match, _) = condition_headers(&condition);
        let delete = |client: aws_sdk_s3::Client, _| {
            client
                .delete_object()
                .bucket(&self.config.bucket)
                .key(key.as_str())
                .set_if_match(if_match.clone())
                .send()
        };
        match self.call(self.asked("delete", Some(key)), delete).await {
            Ok(_) => Ok(()),
            // Some stores say so; S3 calls it done.
            Err(Error::NotFound { .. }) if condition == Condition::None => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes up to 1,000 objects.
    pub(super) async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        if keys.is_empty() || keys.len() > MOST {
            return Err(Error::Invalid {
                reason: format!("delete of {} keys at once", keys.len()),
            });
        }
        // A character that XML cannot hold would make the store refuse the whole request.
        let (xml, odd): (Vec<&Key>, Vec<&Key>) =
            keys.iter().partition(|key| fits_xml(key.as_str()));
        let mut failed = if xml.is_empty() {
            HashMap::new()
        } else {
            self.delete_page(&xml).await?
        };
        failed.extend(self.delete_singly(&odd).await);
        let outcome = |key: &Key| DeleteOutcome {
            key: key.clone(),
            result: failed.get(key.as_str()).cloned().map_or(Ok(()), Err),
        };
        Ok(keys.iter().map(outcome).collect())
    }

    /// The keys that were refused.
    async fn delete_page(&self, keys: &[&Key]) -> Result<HashMap<String, Error>> {
        let ids: Vec<ObjectIdentifier> = keys.iter().map(|key| identifier(key)).collect();
        let delete = |client: aws_sdk_s3::Client, _| {
            let page = Delete::builder().set_objects(Some(ids.clone())).quiet(true);
            let request = client.delete_objects().bucket(&self.config.bucket);
            request
                .delete(page.build().expect("objects are set"))
                .send()
        };
        let answer = self.call(self.asked("delete", None), delete).await?;
        let refused = answer
            .errors()
            .iter()
            .filter_map(|failure| self.refused(failure));
        Ok(refused.collect())
    }

    async fn delete_singly(&self, keys: &[&Key]) -> HashMap<String, Error> {
        let delete = async |key: Key| {
            let error = self.delete(&key, Condition::None).await.err()?;
            Some((key.as_str().to_owned(), error))
        };
        let keys: Vec<Key> = keys.iter().copied().cloned().collect();
        let refused = stream::iter(keys).map(delete).buffer_unordered(AT_ONCE);
        refused.filter_map(std::future::ready).collect().await
    }

    fn refused(&self, failure: &KeyFailure) -> Option<(String, Error)> {
        let key = failure.key()?.to_owned();
        let code = failure.code().unwrap_or("no reason given");
        let error = match code {
            "NoSuchKey" => return None,
            "AccessDenied" => Error::PermissionDenied {
                action: Key::new(key.as_str())
                    .map_or_else(|_| "delete".into(), |k| format!("delete {k}")),
            },
            "InternalError" | "SlowDown" | "ServiceUnavailable" => Error::Throttled {
                reason: code.into(),
            },
            _ => Error::Invalid {
                reason: code.into(),
            },
        };
        Some((key, error))
    }
}

fn identifier(key: &Key) -> ObjectIdentifier {
    // The builder only misses a key that was not set.
    ObjectIdentifier::builder()
        .key(key.as_str())
        .build()
        .expect("the key is set")
}

/// Whether XML 1.0 can hold the text unchanged (XML 1.0 §2.2; `\r` is normalised by some
/// parsers even where it is escaped).
fn fits_xml(key: &str) -> bool {
    !key.chars()
        .any(|c| matches!(c, '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}'))
}
