//! Users, roles, providers and policies as `keys.json` holds them, and the rules by which they change.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::answer::stamp;
use super::refusal::Refusal;
use crate::keys::AccessKey;
pub(super) use crate::policy::ACCOUNT;
use crate::policy::{Policy, PolicyError, Principal};

mod providers;
mod roles;

pub(crate) use providers::{Provider, provider_arn, short};
pub(crate) use roles::Role;
pub(super) use roles::{NewRole, role_arn};

/// IAM's quotas ("IAM and AWS STS quotas"), of those that a caller has to live with.
const KEYS_PER_USER: usize = 2;
const POLICIES_PER_USER: usize = 10;
const POLICY_SIZE: usize = 6_144;
const INLINE_SIZE: usize = 2_048;

/// All of it.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    users: BTreeMap<String, User>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    policies: BTreeMap<String, ManagedPolicy>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    roles: BTreeMap<String, Role>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    providers: BTreeMap<String, Provider>,
}

/// Someone with keys.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) created: String,
    /// Names of managed policies.
    #[serde(default)]
    attached: Vec<String>,
    /// Documents by name.
    #[serde(default)]
    inline: BTreeMap<String, String>,
    #[serde(default)]
    keys: Vec<UserKey>,
}

/// A key of a user.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserKey {
    pub(super) id: String,
    secret: String,
    pub(super) active: bool,
    pub(super) created: String,
}

/// A policy with a name of its own.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManagedPolicy {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) created: String,
    pub(super) document: String,
}

/// A key that counts, and whose it is.
pub(crate) struct Held<'a> {
    pub(crate) user: &'a str,
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) active: bool,
}

pub(super) fn user_arn(path: &str, name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user{path}{name}")
}

pub(super) fn policy_arn(path: &str, name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy{path}{name}")
}

impl Directory {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.policies.is_empty()
            && self.roles.is_empty()
            && self.providers.is_empty()
    }

    /// The keys of all users.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Held<'_>> {
        self.users.iter().flat_map(|(user, record)| {
            record.keys.iter().map(move |key| Held {
                user,
                id: &key.id,
                secret: &key.secret,
                active: key.active,
            })
        })
    }

    /// What a user may do: what all of the policies say together.
    pub(crate) fn rights(&self, user: &str) -> Result<Policy, PolicyError> {
        match self.users.get(user) {
            Some(user) => self.together(&user.attached, &user.inline),
            None => Ok(Policy::joined([])),
        }
    }

    /// Who a user is to policies.
    pub(crate) fn principal(&self, user: &str) -> Principal {
        let path = self.users.get(user).map_or("/", |user| &user.path);
        Principal {
            arn: user_arn(path, user),
            ..Principal::user(user)
        }
    }

    /// Attached and inline policies as one.
    fn together(
        &self,
        attached: &[String],
        inline: &BTreeMap<String, String>,
    ) -> Result<Policy, PolicyError> {
        let managed = attached.iter().filter_map(|name| self.policies.get(name));
        let all: Result<Vec<_>, _> = managed
            .map(|policy| &policy.document)
            .chain(inline.values())
            .map(|document| Policy::parse(document))
            .collect();
        Ok(Policy::joined(all?))
    }

    /// Ends a key wherever it is; says whether it was there.
    pub(crate) fn end_key(&mut self, id: &str) -> bool {
        for user in self.users.values_mut() {
            if let Some(place) = user.keys.iter().position(|key| key.id == id) {
                user.keys.remove(place);
                return true;
            }
        }
        false
    }

    pub(super) fn user(&self, name: &str) -> Result<&User, Refusal> {
        self.users
            .get(name)
            .ok_or_else(|| Refusal::no_such("user", name))
    }

    pub(super) fn users(&self) -> impl Iterator<Item = (&str, &User)> {
        self.users.iter().map(|(name, user)| (name.as_str(), user))
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = (&str, &ManagedPolicy)> {
        let policies = self.policies.iter();
        policies.map(|(name, policy)| (name.as_str(), policy))
    }

    /// A policy and its name by its ARN.
    pub(super) fn policy(&self, arn: &str) -> Result<(&str, &ManagedPolicy), Refusal> {
        if !arn.starts_with("arn:") {
            return Err(Refusal::validation(format!("ARN {arn} is not valid.")));
        }
        let name = arn.rsplit('/').next().unwrap_or_default();
        self.policies
            .get_key_value(name)
            .filter(|(name, policy)| policy_arn(&policy.path, name) == arn)
            .map(|(name, policy)| (name.as_str(), policy))
            .ok_or_else(|| {
                let message = format!("Policy {arn} does not exist or is not attachable.");
                Refusal::missing(message)
            })
    }

    /// How many users and roles have a policy.
    pub(super) fn attachments(&self, policy: &str) -> usize {
        let users = self.users.values().map(User::attached);
        let roles = self.roles.values().map(Role::attached);
        let has = |attached: &&[String]| attached.iter().any(|name| name == policy);
        users.chain(roles).filter(has).count()
    }

    pub(super) fn create_user(
        &mut self,
        name: &str,
        path: String,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        refuse_taken("User", name, self.users.keys())?;
        let user = User {
            id: unique("AIDA"),
            path,
            created: stamp(now),
            attached: Vec::new(),
            inline: BTreeMap::new(),
            keys: Vec::new(),
        };
        self.users.insert(name.to_owned(), user);
        Ok(())
    }

    /// Removes a user that has nothing any more.
    pub(super) fn delete_user(&mut self, name: &str) -> Result<(), Refusal> {
        let user = self.user(name)?;
        let first = if !user.keys.is_empty() {
            "access keys"
        } else if !user.attached.is_empty() {
            "attached policies"
        } else if !user.inline.is_empty() {
            "inline policies"
        } else {
            self.users.remove(name);
            return Ok(());
        };
        Err(Refusal::conflict(&format!(
            "Cannot delete entity, must delete {first} first."
        )))
    }

    pub(super) fn create_policy(
        &mut self,
        name: &str,
        path: String,
        document: String,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        check_document(&document, "PolicySize", POLICY_SIZE)?;
        refuse_taken("A policy", name, self.policies.keys())?;
        let policy = ManagedPolicy {
            id: unique("ANPA"),
            path,
            created: stamp(now),
            document,
        };
        self.policies.insert(name.to_owned(), policy);
        Ok(())
    }

    /// Removes a policy that no one has any more.
    pub(super) fn delete_policy(&mut self, arn: &str) -> Result<(), Refusal> {
        let name = self.policy(arn)?.0.to_owned();
        if self.attachments(&name) > 0 {
            let message = "Cannot delete a policy attached to entities.";
            return Err(Refusal::conflict(message));
        }
        self.policies.remove(&name);
        Ok(())
    }

    /// Attaches a policy; one that is attached already stays so.
    pub(super) fn attach(&mut self, user: &str, arn: &str) -> Result<(), Refusal> {
        let policy = self.policy(arn)?.0.to_owned();
        let user = self.user_mut(user)?;
        if user.has_attached(&policy) {
            return Ok(());
        }
        if user.attached.len() >= POLICIES_PER_USER {
            return Err(Refusal::limit("PoliciesPerUser", POLICIES_PER_USER));
        }
        user.attached.push(policy);
        Ok(())
    }

    pub(super) fn detach(&mut self, user: &str, arn: &str) -> Result<(), Refusal> {
        let policy = self.policy(arn)?.0.to_owned();
        let user = self.user_mut(user)?;
        let place = user.attached.iter().position(|name| *name == policy);
        let missing = || Refusal::missing(format!("Policy {arn} was not found."));
        user.attached.remove(place.ok_or_else(missing)?);
        Ok(())
    }

    /// Puts an inline policy in place of one of the same name.
    pub(super) fn put_inline(
        &mut self,
        user: &str,
        name: String,
        document: String,
    ) -> Result<(), Refusal> {
        check_document(&document, "bytes in all inline policies", INLINE_SIZE)?;
        let user = self.user_mut(user)?;
        let others = user.inline.iter().filter(|(other, _)| **other != name);
        let size: usize = others.map(|(_, document)| document.len()).sum();
        if size + document.len() > INLINE_SIZE {
            return Err(Refusal::limit("bytes in all inline policies", INLINE_SIZE));
        }
        user.inline.insert(name, document);
        Ok(())
    }

    pub(super) fn delete_inline(&mut self, user: &str, name: &str) -> Result<(), Refusal> {
        let removed = self.user_mut(user)?.inline.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| Refusal::no_such("user policy", name))
    }

    pub(super) fn create_key(
        &mut self,
        user: &str,
        key: &AccessKey,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let user = self.user_mut(user)?;
        if user.keys.len() >= KEYS_PER_USER {
            return Err(Refusal::limit("AccessKeysPerUser", KEYS_PER_USER));
        }
        user.keys.push(UserKey {
            id: key.id.clone(),
            secret: key.secret.expose_secret().to_owned(),
            active: true,
            created: stamp(now),
        });
        Ok(())
    }

    pub(super) fn set_key_status(
        &mut self,
        user: &str,
        id: &str,
        active: bool,
    ) -> Result<(), Refusal> {
        let keys = &mut self.user_mut(user)?.keys;
        let key = keys.iter_mut().find(|key| key.id == id);
        key.ok_or_else(|| Refusal::no_such("Access Key", id))?
            .active = active;
        Ok(())
    }

    pub(super) fn delete_key(&mut self, user: &str, id: &str) -> Result<(), Refusal> {
        let keys = &mut self.user_mut(user)?.keys;
        let place = keys.iter().position(|key| key.id == id);
        keys.remove(place.ok_or_else(|| Refusal::no_such("Access Key", id))?);
        Ok(())
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, Refusal> {
        self.users
            .get_mut(name)
            .ok_or_else(|| Refusal::no_such("user", name))
    }
}

impl User {
    pub(super) fn attached(&self) -> &[String] {
        &self.attached
    }

    pub(super) fn inline_names(&self) -> impl Iterator<Item = &str> {
        self.inline.keys().map(String::as_str)
    }

    pub(super) fn keys(&self) -> &[UserKey] {
        &self.keys
    }

    fn has_attached(&self, policy: &str) -> bool {
        self.attached.iter().any(|name| name == policy)
    }
}

/// Names are taken without regard to case (API reference of CreateUser).
fn refuse_taken<'a>(
    kind: &str,
    name: &str,
    mut taken: impl Iterator<Item = &'a String>,
) -> Result<(), Refusal> {
    match taken.any(|other| other.eq_ignore_ascii_case(name)) {
        true => Err(Refusal::exists(kind, name)),
        false => Ok(()),
    }
}

fn check_document(document: &str, quota: &str, most: usize) -> Result<(), Refusal> {
    check_size(document, quota, most)?;
    Policy::parse(document)
        .map(drop)
        .map_err(Refusal::malformed_policy)
}

fn check_size(document: &str, quota: &str, most: usize) -> Result<(), Refusal> {
    // White space does not count.
    let size = document.chars().filter(|c| !c.is_whitespace()).count();
    match size > most {
        true => Err(Refusal::limit(quota, most)),
        false => Ok(()),
    }
}

/// An id such as `AIDA4F…`, of the length that IAM's have.
fn unique(kind: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    format!("{kind}{}", &random[..17])
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = r#"{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#;

    fn with_user() -> Directory {
        let mut directory = Directory::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        directory.create_user("ann", "/".into(), now).unwrap();
        directory
            .create_policy("read", "/team/".into(), READ.into(), now)
            .unwrap();
        directory
    }

    fn may_read(directory: &Directory) -> bool {
        let request = crate::policy::Request {
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k".into(),
            ..Default::default()
        };
        directory.rights("ann").unwrap().allows(&request)
    }

    #[test]
    fn rights_are_those_of_all_policies_together() {
        let mut directory = with_user();
        let arn = policy_arn("/team/", "read");
        assert!(!may_read(&directory), "a user may nothing");
        directory.attach("ann", &arn).unwrap();
        assert!(may_read(&directory));
        let deny = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
        directory
            .put_inline("ann", "none".into(), deny.into())
            .unwrap();
        assert!(!may_read(&directory), "a deny wins");
        directory.delete_inline("ann", "none").unwrap();
        directory.detach("ann", &arn).unwrap();
        assert!(!may_read(&directory));
    }

    #[test]
    fn a_user_goes_when_nothing_is_left_of_it() {
        let mut directory = with_user();
        let (arn, now) = (policy_arn("/team/", "read"), OffsetDateTime::UNIX_EPOCH);
        let key = AccessKey::random();
        directory.attach("ann", &arn).unwrap();
        directory.create_key("ann", &key, now).unwrap();
        let conflict = |what: &str| {
            Refusal::conflict(&format!("Cannot delete entity, must delete {what} first."))
        };
        let refused = directory.delete_user("ann");
        assert_eq!(refused, Err(conflict("access keys")));
        directory.delete_key("ann", &key.id).unwrap();
        let refused = directory.delete_user("ann");
        assert_eq!(refused, Err(conflict("attached policies")));
        let held = directory.delete_policy(&arn);
        let message = "Cannot delete a policy attached to entities.";
        assert_eq!(held, Err(Refusal::conflict(message)));
        directory.detach("ann", &arn).unwrap();
        directory.delete_user("ann").unwrap();
        directory.delete_policy(&arn).unwrap();
        assert!(directory.is_empty());
    }

    #[test]
    fn names_are_taken_without_regard_to_case() {
        let mut directory = with_user();
        let again = directory.create_user("Ann", "/".into(), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(again, Err(Refusal::exists("User", "Ann")));
    }

    #[test]
    fn quotas_are_iams() {
        let mut directory = with_user();
        let now = OffsetDateTime::UNIX_EPOCH;
        for _ in 0..2 {
            directory
                .create_key("ann", &AccessKey::random(), now)
                .unwrap();
        }
        let third = directory.create_key("ann", &AccessKey::random(), now);
        assert_eq!(third, Err(Refusal::limit("AccessKeysPerUser", 2)));
        let long = format!("{}{}", " ".repeat(7000), READ);
        let taken = directory.create_policy("spaces", "/".into(), long, now);
        assert_eq!(taken, Ok(()), "white space does not count");
        let long = READ.replace("\"*\"", &format!("\"arn:aws:s3:::{}\"", "x".repeat(6144)));
        let refused = directory.create_policy("long", "/".into(), long, now);
        assert_eq!(refused, Err(Refusal::limit("PolicySize", 6144)));
    }
}
