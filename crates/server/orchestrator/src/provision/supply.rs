//! The store of this server: who is asked for buckets and keys, and where those who get a key
//! find it.

use std::sync::Arc;

use api::{Endpoint, InvalidPlace, Region};
use base::Failure;
use provider::{Access, Grant, KeyHandle, Prefix, Provider, Scope};
use uuid::Uuid;

/// A provider of buckets and keys, and its place in the words of the wire.
#[derive(Clone)]
pub struct Supply {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) endpoint: Endpoint,
    pub(crate) region: Region,
}

impl Supply {
    /// Takes a provider.
    ///
    /// # Errors
    /// A place that cannot be handed out, because it breaks the rules of the wire.
    pub fn new(provider: Arc<dyn Provider>) -> Result<Self, InvalidPlace> {
        let place = provider.place();
        let region: Region = place.region.parse()?;
        let endpoint = match &place.endpoint {
            Some(endpoint) => endpoint.as_str().parse()?,
            None => amazon(&region).parse()?,
        };
        Ok(Self {
            provider,
            endpoint,
            region,
        })
    }
}

/// Amazon's own address in a region ("Amazon S3 endpoints", AWS General Reference).
fn amazon(region: &Region) -> String {
    let china = region.as_str().starts_with("cn-");
    let suffix = if china { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{suffix}")
}

/// What a key shall open, in the provider's words. An empty prefix is the whole bucket.
pub(super) fn grant(
    credential: Uuid,
    bucket: &api::BucketName,
    prefix: &api::Prefix,
    mode: api::Mode,
) -> provider::Result<Grant> {
    let prefix = Some(prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(str::parse::<Prefix>).transpose()?;
    let access = match mode {
        api::Mode::Ro => Access::ReadOnly,
        api::Mode::Rw => Access::ReadWrite,
    };
    Ok(Grant {
        credential,
        scope: Scope {
            bucket: bucket.as_str().parse()?,
            prefix,
            access,
        },
    })
}

/// The handle of a row. One that cannot be read counts as unknown: all names follow from the
/// credential's id.
pub(super) fn handle(credential: Uuid, row: &str) -> KeyHandle {
    let read = serde_json::from_str::<KeyHandle>(row).ok();
    read.filter(|handle| handle.credential == credential)
        .unwrap_or_else(|| KeyHandle::new(credential))
}

/// The handle as its row keeps it.
pub(super) fn to_row(handle: &KeyHandle) -> Result<String, Failure> {
    serde_json::to_string(handle).map_err(|_| Failure::internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazon_has_an_address_in_every_region() {
        let address = |region: &str| amazon(&region.parse().unwrap());
        assert_eq!(
            address("eu-central-1"),
            "https://s3.eu-central-1.amazonaws.com"
        );
        assert_eq!(
            address("cn-north-1"),
            "https://s3.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn a_handle_that_says_nothing_or_of_another_key_is_begun_anew() {
        let id = Uuid::from_u128(7);
        let mut known = KeyHandle::new(id);
        known.policy_arn = Some("arn:aws:iam::1:policy/p".into());
        let row = serde_json::to_string(&known).unwrap();
        assert_eq!(handle(id, &row), known);
        for row in ["{}", "", &row.replace("0007", "0008")] {
            assert_eq!(handle(id, row), KeyHandle::new(id), "{row}");
        }
    }

    #[test]
    fn a_prefix_with_a_meaning_in_policies_is_refused() {
        let ask = |prefix: &str| {
            let prefix = prefix.parse().unwrap();
            grant(
                Uuid::nil(),
                &"bucket".parse().unwrap(),
                &prefix,
                api::Mode::Ro,
            )
        };
        assert_eq!(ask("").unwrap().scope.prefix, None);
        let folder = ask("cases/").unwrap().scope;
        assert_eq!(folder.prefix.unwrap().as_str(), "cases/");
        assert_eq!(folder.access, Access::ReadOnly);
        assert!(ask("a*/").is_err());
    }
}
