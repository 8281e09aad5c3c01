//! Roles and providers in answers.

use serde::Serialize;

use super::{Members, encoded};
use crate::iam::directory::{self, Provider, Role};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::iam) struct RoleResult<'a> {
    pub(in crate::iam) role: RoleAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::iam) struct RoleAnswer<'a> {
    path: &'a str,
    role_name: &'a str,
    role_id: &'a str,
    arn: String,
    create_date: &'a str,
    assume_role_policy_document: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    max_session_duration: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::iam) struct RolePolicyResult<'a> {
    role_name: &'a str,
    policy_name: &'a str,
    policy_document: String,
}

#[derive(Serialize)]
pub(in crate::iam) struct ProviderArn {
    #[serde(rename = "OpenIDConnectProviderArn")]
    pub(in crate::iam) arn: String,
}

/// A line of the list, which calls the same thing `Arn`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::iam) struct ProviderArnMember {
    pub(in crate::iam) arn: String,
}

#[derive(Serialize)]
pub(in crate::iam) struct ProviderResult<'a> {
    #[serde(rename = "Url")]
    url: &'a str,
    #[serde(rename = "ClientIDList")]
    clients: Members<'a, String>,
    #[serde(rename = "ThumbprintList")]
    thumbprints: Members<'a, String>,
    #[serde(rename = "CreateDate")]
    created: &'a str,
}

impl<'a> RoleAnswer<'a> {
    pub(in crate::iam) fn of(name: &'a str, role: &'a Role) -> Self {
        Self {
            path: &role.path,
            role_name: name,
            role_id: &role.id,
            arn: directory::role_arn(&role.path, name),
            create_date: &role.created,
            assume_role_policy_document: encoded(&role.trust),
            description: &role.description,
            max_session_duration: role.max_seconds,
        }
    }
}

impl<'a> RolePolicyResult<'a> {
    pub(in crate::iam) fn of(role: &'a str, policy: &'a str, document: &str) -> Self {
        Self {
            role_name: role,
            policy_name: policy,
            policy_document: encoded(document),
        }
    }
}

impl<'a> ProviderResult<'a> {
    pub(in crate::iam) fn of(provider: &'a Provider) -> Self {
        Self {
            // As AWS shows it: without the scheme.
            url: directory::short(&provider.url),
            clients: Members {
                member: &provider.clients,
            },
            thumbprints: Members {
                member: &provider.thumbprints,
            },
            created: &provider.created,
        }
    }
}
