//! Roles: who may assume them, and what they may do then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    ACCOUNT, Directory, POLICIES_PER_USER, check_document, check_size, refuse_taken, stamp, unique,
};
use crate::iam::refusal::Refusal;
use crate::policy::{Policy, PolicyError};

/// IAM's quotas ("IAM and AWS STS quotas").
const TRUST_SIZE: usize = 2_048;
const INLINE_SIZE: usize = 10_240;

/// What MaxSessionDuration may be (API reference of CreateRole).
const LENGTHS: std::ops::RangeInclusive<i64> = 3_600..=43_200;

/// Rights that one takes on for a while.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Role {
    pub(crate) id: String,
    pub(in crate::iam) path: String,
    pub(in crate::iam) created: String,
    #[serde(default)]
    pub(in crate::iam) description: String,
    pub(crate) max_seconds: i64,
    /// The trust policy.
    pub(in crate::iam) trust: String,
    /// Names of managed policies.
    #[serde(default)]
    attached: Vec<String>,
    /// Documents by name.
    #[serde(default)]
    inline: BTreeMap<String, String>,
}

/// A role as it is asked for.
pub(in crate::iam) struct NewRole {
    pub(in crate::iam) path: String,
    pub(in crate::iam) description: String,
    pub(in crate::iam) max_seconds: i64,
    pub(in crate::iam) trust: String,
}

pub(in crate::iam) fn role_arn(path: &str, name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role{path}{name}")
}

impl Role {
    /// Who may assume it.
    pub(crate) fn trust(&self) -> Result<Policy, PolicyError> {
        Policy::of_trust(&self.trust)
    }

    pub(in crate::iam) fn attached(&self) -> &[String] {
        &self.attached
    }

    pub(in crate::iam) fn inline_names(&self) -> impl Iterator<Item = &str> {
        self.inline.keys().map(String::as_str)
    }

    pub(in crate::iam) fn inline(&self, name: &str) -> Result<&str, Refusal> {
        let document = self.inline.get(name).map(String::as_str);
        document.ok_or_else(|| Refusal::no_such("role policy", name))
    }
}

impl Directory {
    /// A role and its name by its ARN.
    pub(crate) fn role_of(&self, arn: &str) -> Option<(&str, &Role)> {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let (name, role) = self.roles.get_key_value(name)?;
        (role_arn(&role.path, name) == arn).then_some((name.as_str(), role))
    }

    /// What each role may do, by its unique id.
    pub(crate) fn role_rights(&self) -> impl Iterator<Item = (&str, Result<Policy, PolicyError>)> {
        self.roles.values().map(|role| {
            let rights = self.together(&role.attached, &role.inline);
            (role.id.as_str(), rights)
        })
    }

    pub(in crate::iam) fn role(&self, name: &str) -> Result<&Role, Refusal> {
        let role = self.roles.get(name);
        role.ok_or_else(|| Refusal::no_such("role", name))
    }

    pub(in crate::iam) fn roles(&self) -> impl Iterator<Item = (&str, &Role)> {
        self.roles.iter().map(|(name, role)| (name.as_str(), role))
    }

    pub(in crate::iam) fn create_role(
        &mut self,
        name: &str,
        new: NewRole,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        check_trust(&new.trust)?;
        check_length(new.max_seconds)?;
        refuse_taken("Role", name, self.roles.keys())?;
        let role = Role {
            id: unique("AROA"),
            path: new.path,
            created: stamp(now),
            description: new.description,
            max_seconds: new.max_seconds,
            trust: new.trust,
            attached: Vec::new(),
            inline: BTreeMap::new(),
        };
        self.roles.insert(name.to_owned(), role);
        Ok(())
    }

    /// Removes a role that has nothing any more.
    pub(in crate::iam) fn delete_role(&mut self, name: &str) -> Result<(), Refusal> {
        let role = self.role(name)?;
        if role.attached.is_empty() && role.inline.is_empty() {
            self.roles.remove(name);
            return Ok(());
        }
        let message = "Cannot delete entity, must delete policies first.";
        Err(Refusal::conflict(message))
    }

    pub(in crate::iam) fn update_trust(
        &mut self,
        name: &str,
        trust: String,
    ) -> Result<(), Refusal> {
        check_trust(&trust)?;
        self.role_mut(name)?.trust = trust;
        Ok(())
    }

    pub(in crate::iam) fn update_role(
        &mut self,
        name: &str,
        description: Option<String>,
        max_seconds: Option<i64>,
    ) -> Result<(), Refusal> {
        max_seconds.map_or(Ok(()), check_length)?;
        let role = self.role_mut(name)?;
        role.description = description.unwrap_or_default();
        role.max_seconds = max_seconds.unwrap_or(role.max_seconds);
        Ok(())
    }

    /// Puts an inline policy in place of one of the same name.
    pub(in crate::iam) fn put_role_policy(
        &mut self,
        role: &str,
        name: String,
        document: String,
    ) -> Result<(), Refusal> {
        check_document(&document, "bytes in all inline policies", INLINE_SIZE)?;
        let role = self.role_mut(role)?;
        let others = role.inline.iter().filter(|(other, _)| **other != name);
        let size: usize = others.map(|(_, document)| document.len()).sum();
        if size + document.len() > INLINE_SIZE {
            return Err(Refusal::limit("bytes in all inline policies", INLINE_SIZE));
        }
        role.inline.insert(name, document);
        Ok(())
    }

    pub(in crate::iam) fn delete_role_policy(
        &mut self,
        role: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        let removed = self.role_mut(role)?.inline.remove(name);
        let missing = || Refusal::no_such("role policy", name);
        removed.map(drop).ok_or_else(missing)
    }

    /// Attaches a policy; one that is attached already stays so.
    pub(in crate::iam) fn attach_to_role(&mut self, role: &str, arn: &str) -> Result<(), Refusal> {
        let policy = self.policy(arn)?.0.to_owned();
        let role = self.role_mut(role)?;
        if role.attached.contains(&policy) {
            return Ok(());
        }
        if role.attached.len() >= POLICIES_PER_USER {
            return Err(Refusal::limit("PoliciesPerRole", POLICIES_PER_USER));
        }
        role.attached.push(policy);
        Ok(())
    }

    pub(in crate::iam) fn detach_from_role(
        &mut self,
        role: &str,
        arn: &str,
    ) -> Result<(), Refusal> {
        let policy = self.policy(arn)?.0.to_owned();
        let role = self.role_mut(role)?;
        let place = role.attached.iter().position(|name| *name == policy);
        let missing = || Refusal::missing(format!("Policy {arn} was not found."));
        role.attached.remove(place.ok_or_else(missing)?);
        Ok(())
    }

    fn role_mut(&mut self, name: &str) -> Result<&mut Role, Refusal> {
        let role = self.roles.get_mut(name);
        role.ok_or_else(|| Refusal::no_such("role", name))
    }
}

fn check_trust(document: &str) -> Result<(), Refusal> {
    check_size(document, "ACLSizePerRole", TRUST_SIZE)?;
    Policy::of_trust(document)
        .map(drop)
        .map_err(Refusal::malformed_policy)
}

fn check_length(seconds: i64) -> Result<(), Refusal> {
    match LENGTHS.contains(&seconds) {
        true => Ok(()),
        false => Err(Refusal::validation(
            "MaxSessionDuration is not between 3600 and 43200",
        )),
    }
}
