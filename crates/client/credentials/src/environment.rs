//! The part of the process environment that the key chain looks at.

use std::ffi::OsString;

use crate::key_file::Field;
use crate::{Error, FieldValue, Result};

/// Storage keys and region as the environment gives them, read once.
///
/// An empty variable counts as unset, as shells and CI systems use it.
pub struct Environment {
    pub(crate) access_key_id: Option<FieldValue>,
    pub(crate) secret_access_key: Option<FieldValue>,
    pub(crate) session_token: Option<FieldValue>,
    pub(crate) region: Option<(FieldValue, &'static str)>,
}

/// Where a region is looked for, in this order.
const REGION_VARIABLES: [&str; 3] = ["ARTIFACTS_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"];

impl Environment {
    /// This process's environment.
    pub fn from_process() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// An environment of the caller's making. Errors name the variable, never its value.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let field = |field: Field| variable(&lookup, field.variable());
        let region = REGION_VARIABLES
            .into_iter()
            .find_map(|name| variable(&lookup, name).transpose().map(|v| (v, name)));
        Ok(Self {
            access_key_id: field(Field::AccessKeyId)?,
            secret_access_key: field(Field::SecretAccessKey)?,
            session_token: field(Field::SessionToken)?,
            region: region
                .map(|(v, name)| Ok::<_, Error>((v?, name)))
                .transpose()?,
        })
    }

    /// Whether any of access key, secret key and session token is set.
    pub fn has_keys(&self) -> bool {
        self.access_key_id.is_some()
            || self.secret_access_key.is_some()
            || self.session_token.is_some()
    }

    /// What `ARTIFACTS_S3_*` sets, for saving: all of a complete pair, and the region only
    /// where it comes from `ARTIFACTS_S3_REGION` (the `AWS_*` variables belong to others).
    pub fn own_fields(&self) -> Result<Vec<(Field, &FieldValue)>> {
        self.check_pair()?;
        let region = self
            .region
            .as_ref()
            .filter(|(_, name)| *name == Field::Region.variable())
            .map(|(value, _)| value);
        let fields = [
            (Field::AccessKeyId, self.access_key_id.as_ref()),
            (Field::SecretAccessKey, self.secret_access_key.as_ref()),
            (Field::SessionToken, self.session_token.as_ref()),
            (Field::Region, region),
        ];
        Ok(fields
            .into_iter()
            .filter_map(|(field, value)| Some((field, value?)))
            .collect())
    }

    /// Refuses half a pair, and a token without its pair.
    pub(crate) fn check_pair(&self) -> Result<()> {
        if !self.has_keys() {
            return Ok(());
        }
        for (field, value) in [
            (Field::AccessKeyId, &self.access_key_id),
            (Field::SecretAccessKey, &self.secret_access_key),
        ] {
            if value.is_none() {
                return Err(Error::half_in_environment(field));
            }
        }
        Ok(())
    }
}

fn variable(lookup: impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<FieldValue>> {
    let Some(value) = lookup(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value
        .into_string()
        .map_err(|_| Error::invalid(name, "is not UTF-8"))?;
    FieldValue::new(&text, name).map(Some)
}
