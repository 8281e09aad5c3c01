//! What stores say of their buckets, in their own words.

mod s3;
mod seaweedfs;
mod tigris;

use std::collections::BTreeMap;
use std::str::FromStr;

use api::{Announcement, Change, Changes, Event, ObjectKey, Prefix, Source};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A kind of notification, as the path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sender {
    Tigris,
    /// Amazon's event notifications, directly or through EventBridge.
    S3,
    /// The same form, under the name that people look for.
    Minio,
    Seaweedfs,
}

/// What a store says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) etag: Option<String>,
    pub(crate) gone: bool,
}

impl Sender {
    fn source(self) -> Source {
        match self {
            Self::Tigris => Source::Tigris,
            Self::S3 | Self::Minio => Source::S3,
            Self::Seaweedfs => Source::Seaweedfs,
        }
    }

    /// The word of the path.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tigris => "tigris",
            Self::S3 => "s3",
            Self::Minio => "minio",
            Self::Seaweedfs => "seaweedfs",
        }
    }

    /// What a body says. Events of other kinds (of settings, tests, restores) say nothing.
    pub(crate) fn read(self, body: Map<String, Value>) -> Result<Vec<Notice>, serde_json::Error> {
        let body = Value::Object(body);
        match self {
            Self::Tigris => tigris::read(body),
            Self::S3 | Self::Minio => s3::read(body),
            Self::Seaweedfs => seaweedfs::read(body),
        }
    }

    /// The events of a workspace with this prefix: what the notices come to in the end, so that
    /// they are few however often something came and went.
    pub(crate) fn events<'a>(
        self,
        prefix: &Prefix,
        notices: impl IntoIterator<Item = &'a Notice>,
    ) -> Vec<Event> {
        let mut last: BTreeMap<ObjectKey, &Notice> = BTreeMap::new();
        for notice in notices {
            let inside = notice.key.strip_prefix(prefix.as_str());
            if let Some(key) = inside.and_then(|key| ObjectKey::from_str(key).ok()) {
                last.insert(key, notice);
            }
        }
        let (mut changed, mut deleted) = (Vec::new(), Vec::new());
        for (key, notice) in last {
            let etag = notice.etag.clone();
            let kind = if notice.gone {
                &mut deleted
            } else {
                &mut changed
            };
            kind.push(Change { key, etag });
        }
        let changed = self.parts(&changed).map(Event::Changed);
        changed
            .chain(self.parts(&deleted).map(Event::Deleted))
            .collect()
    }

    /// None larger than those that mounts announce.
    fn parts(self, objects: &[Change]) -> impl Iterator<Item = Changes> {
        objects.chunks(Announcement::MOST).map(move |part| Changes {
            objects: part.to_vec(),
            source: self.source(),
            origin: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_hears_of_its_part_only_and_what_it_came_to() {
        let notice = |key: &str, gone| Notice {
            bucket: "b".into(),
            key: key.into(),
            etag: None,
            gone,
        };
        let mut notices = vec![
            notice("cases/a", false),
            notice("cases/b", false),
            notice("casesx/c", false),
            notice("cases/a", true),
            notice("cases/", false),
            notice("cases/c", true),
            notice("cases/c", false),
        ];
        let events = Sender::S3.events(&"cases/".parse().unwrap(), &notices);
        let told: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Changed(run) | Event::Deleted(run) => {
                    let keys = run.objects.iter().map(|change| change.key.as_str());
                    (event.name(), keys.collect::<Vec<_>>())
                }
                _ => panic!("{event:?}"),
            })
            .collect();
        let wanted = [("changed", vec!["b", "c"]), ("deleted", vec!["a"])];
        assert_eq!(told, wanted);
        notices.extend((0..2_500).map(|number| notice(&format!("cases/x{number}"), false)));
        let events = Sender::S3.events(&"cases/".parse().unwrap(), &notices);
        assert_eq!(events.len(), 4, "no event has more than 1,000 objects");
    }
}
