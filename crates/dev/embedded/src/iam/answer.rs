//! What a call answers, as IAM's XML.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::directory::{self, ManagedPolicy, User, UserKey};
use super::refusal::Refusal;
use crate::keys::AccessKey;
use secrecy::ExposeSecret;

mod roles;

pub(super) use roles::{
    ProviderArn, ProviderArnMember, ProviderResult, RoleAnswer, RolePolicyResult, RoleResult,
};

pub(super) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// A call that was carried out.
pub(super) struct Done {
    action: String,
    /// `<…Result>`, or nothing for the calls that have none.
    result: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UserResult<'a> {
    pub(super) user: UserAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UserAnswer<'a> {
    path: &'a str,
    user_name: &'a str,
    user_id: &'a str,
    arn: String,
    create_date: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyResult<'a> {
    pub(super) policy: PolicyAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyAnswer<'a> {
    policy_name: &'a str,
    policy_id: &'a str,
    arn: String,
    path: &'a str,
    default_version_id: &'static str,
    attachment_count: usize,
    permissions_boundary_usage_count: usize,
    is_attachable: bool,
    create_date: &'a str,
    update_date: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VersionResult<'a> {
    pub(super) policy_version: VersionAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VersionAnswer<'a> {
    document: String,
    version_id: &'static str,
    is_default_version: bool,
    create_date: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttachedAnswer<'a> {
    pub(super) policy_name: &'a str,
    pub(super) policy_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewKeyResult<'a> {
    access_key: NewKeyAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewKeyAnswer<'a> {
    user_name: &'a str,
    access_key_id: &'a str,
    status: &'static str,
    secret_access_key: &'a str,
    create_date: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyAnswer<'a> {
    user_name: &'a str,
    access_key_id: &'a str,
    status: &'static str,
    create_date: &'a str,
}

/// Names of inline policies.
#[derive(Serialize)]
pub(super) struct Name<'a> {
    #[serde(rename = "$text")]
    pub(super) name: &'a str,
}

/// One page of a list; the list's own name is the field that `serialize` gives it.
pub(super) struct Page<T> {
    pub(super) members: Vec<T>,
    /// The last name, where more follows.
    pub(super) marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PageEnd<'a> {
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Members<'a, T> {
    pub(super) member: &'a [T],
}

impl Done {
    /// A call that answers nothing.
    pub(super) fn silent(action: &str) -> Self {
        Self {
            action: action.to_owned(),
            result: String::new(),
        }
    }

    /// A call that answers a value.
    pub(super) fn with(action: &str, value: &impl Serialize) -> Result<Self, Refusal> {
        Ok(Self {
            action: action.to_owned(),
            result: xml(&format!("{action}Result"), value)?,
        })
    }

    /// A call that answers a page of a list with this name.
    pub(super) fn listing<T: Serialize>(
        action: &str,
        list: &str,
        page: &Page<T>,
    ) -> Result<Self, Refusal> {
        let member = &page.members[..];
        let members = xml(list, &Members { member })?;
        let end = PageEnd {
            is_truncated: page.marker.is_some(),
            marker: page.marker.as_deref(),
        };
        let name = format!("{action}Result");
        // The list goes before the end inside of one element.
        let result = xml(&name, &end)?.replacen('>', &format!(">{members}"), 1);
        Ok(Self {
            action: action.to_owned(),
            result,
        })
    }

    pub(super) fn document(&self, request_id: &str) -> String {
        let (action, result) = (&self.action, &self.result);
        format!(
            "<{action}Response xmlns=\"{NAMESPACE}\">{result}<ResponseMetadata>\
             <RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
        )
    }
}

impl<'a> UserAnswer<'a> {
    pub(super) fn of(name: &'a str, user: &'a User) -> Self {
        Self {
            path: &user.path,
            user_name: name,
            user_id: &user.id,
            arn: directory::user_arn(&user.path, name),
            create_date: &user.created,
        }
    }

    /// The account itself, which the root key stands for.
    pub(super) fn root() -> Self {
        Self {
            path: "/",
            user_name: "root",
            user_id: directory::ACCOUNT,
            arn: format!("arn:aws:iam::{}:root", directory::ACCOUNT),
            create_date: "1970-01-01T00:00:00Z",
        }
    }
}

impl<'a> PolicyAnswer<'a> {
    pub(super) fn of(name: &'a str, policy: &'a ManagedPolicy, attached: usize) -> Self {
        Self {
            policy_name: name,
            policy_id: &policy.id,
            arn: directory::policy_arn(&policy.path, name),
            path: &policy.path,
            default_version_id: "v1",
            attachment_count: attached,
            permissions_boundary_usage_count: 0,
            is_attachable: true,
            create_date: &policy.created,
            update_date: &policy.created,
        }
    }
}

impl<'a> VersionAnswer<'a> {
    pub(super) fn of(policy: &'a ManagedPolicy) -> Self {
        Self {
            document: encoded(&policy.document),
            version_id: "v1",
            is_default_version: true,
            create_date: &policy.created,
        }
    }
}

impl<'a> NewKeyResult<'a> {
    pub(super) fn of(user: &'a str, key: &'a AccessKey, now: OffsetDateTime) -> Self {
        let access_key = NewKeyAnswer {
            user_name: user,
            access_key_id: &key.id,
            status: "Active",
            secret_access_key: key.secret.expose_secret(),
            create_date: stamp(now),
        };
        Self { access_key }
    }
}

impl<'a> KeyAnswer<'a> {
    pub(super) fn of(user: &'a str, key: &'a UserKey) -> Self {
        Self {
            user_name: user,
            access_key_id: &key.id,
            status: if key.active { "Active" } else { "Inactive" },
            create_date: &key.created,
        }
    }
}

/// Documents are URL-encoded, as RFC 3986 says (API reference of GetPolicyVersion).
fn encoded(document: &str) -> String {
    let all = percent_encoding::NON_ALPHANUMERIC;
    percent_encoding::utf8_percent_encode(document, all).to_string()
}

/// A time as IAM writes it, to the second.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

fn xml(name: &str, value: &impl Serialize) -> Result<String, Refusal> {
    quick_xml::se::to_string_with_root(name, value).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Refusal::failure()
    })
}
