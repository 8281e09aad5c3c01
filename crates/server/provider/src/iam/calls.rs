//! IAM's calls, with our errors, all pages, and what a dialect leaves out.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::PolicyScopeType;

use super::{Dialect, policy_of_arn};
use crate::sdk::Asked;
use crate::{Error, Marker, Namespace, NewKey, Page, Result};

pub(super) struct Calls {
    client: Client,
    dialect: Dialect,
    path: Option<String>,
}

/// A key as ListAccessKeys shows it.
pub(super) struct ListedKey {
    pub(super) user: Option<String>,
    pub(super) id: String,
}

impl Calls {
    pub(super) fn new(client: Client, dialect: Dialect, namespace: &Namespace) -> Self {
        Self {
            client,
            dialect,
            path: dialect.path(namespace),
        }
    }

    /// Answers the ARN.
    pub(super) async fn create_policy(&self, name: &str, document: &str) -> Result<String> {
        let request = self.client.create_policy().policy_name(name);
        let request = request.set_path(self.path.clone());
        let made = request.policy_document(document).send().await;
        let made = made.map_err(|error| about("CreatePolicy", name).failed(error))?;
        let arn = made.policy().and_then(|policy| policy.arn());
        arn.map(str::to_owned)
            .ok_or_else(|| no("CreatePolicy", "an ARN"))
    }

    /// The ARNs of policies whose names begin so.
    pub(super) async fn policies_beginning(&self, begin: &str) -> Result<Vec<String>> {
        let scope = (self.dialect != Dialect::Tigris).then_some(PolicyScopeType::Local);
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let request = self.client.list_policies().set_scope(scope.clone());
            let request = request.set_path_prefix(self.path.clone());
            let page = request.set_marker(marker).send().await;
            let page = page.map_err(|error| about("ListPolicies", begin).failed(error))?;
            let arns = page.policies().iter().filter_map(|policy| policy.arn());
            let ours = arns.filter(|arn| policy_of_arn(arn).starts_with(begin));
            found.extend(ours.map(str::to_owned));
            marker = page.marker().map(str::to_owned);
            if !page.is_truncated() || marker.is_none() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn delete_policy(&self, arn: &str) -> Result<()> {
        let deleted = self.client.delete_policy().policy_arn(arn).send().await;
        deleted
            .map(drop)
            .map_err(|error| about("DeletePolicy", arn).failed(error))
    }

    pub(super) async fn create_user(&self, name: &str) -> Result<()> {
        let request = self.client.create_user().user_name(name);
        let made = request.set_path(self.path.clone()).send().await;
        made.map(drop)
            .map_err(|error| about("CreateUser", name).failed(error))
    }

    pub(super) async fn delete_user(&self, name: &str) -> Result<()> {
        let deleted = self.client.delete_user().user_name(name).send().await;
        deleted
            .map(drop)
            .map_err(|error| about("DeleteUser", name).failed(error))
    }

    /// Names of users, of our path where there are paths.
    pub(super) async fn users(&self, from: Option<&Marker>) -> Result<Page<String>> {
        let request = self.client.list_users();
        let request = request.set_path_prefix(self.path.clone());
        let page = request.set_marker(from.map(|marker| marker.0.clone()));
        let page = page.send().await;
        let page = page.map_err(|error| about("ListUsers", "the store").failed(error))?;
        let next = page.marker().filter(|_| page.is_truncated());
        Ok(Page {
            items: page
                .users()
                .iter()
                .map(|u| u.user_name().to_owned())
                .collect(),
            next: next.map(|marker| Marker(marker.to_owned())),
        })
    }

    pub(super) async fn attach(&self, user: &str, arn: &str) -> Result<()> {
        let request = self.client.attach_user_policy().user_name(user);
        let attached = request.policy_arn(arn).send().await;
        attached
            .map(drop)
            .map_err(|error| about("AttachUserPolicy", user).failed(error))
    }

    pub(super) async fn detach(&self, user: &str, arn: &str) -> Result<()> {
        let request = self.client.detach_user_policy().user_name(user);
        let detached = request.policy_arn(arn).send().await;
        detached
            .map(drop)
            .map_err(|error| about("DetachUserPolicy", user).failed(error))
    }

    /// The ARNs of a user's policies.
    pub(super) async fn attached(&self, user: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let request = self.client.list_attached_user_policies().user_name(user);
            let page = request.set_marker(marker).send().await;
            let page = page.map_err(|e| about("ListAttachedUserPolicies", user).failed(e))?;
            let arns = page.attached_policies().iter();
            found.extend(arns.filter_map(|policy| policy.policy_arn().map(str::to_owned)));
            marker = page.marker().map(str::to_owned);
            if !page.is_truncated() || marker.is_none() {
                return Ok(found);
            }
        }
    }

    /// The users (at Tigris: the keys) that have a policy.
    pub(super) async fn holders(&self, arn: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let request = self.client.list_entities_for_policy().policy_arn(arn);
            let page = request.set_marker(marker).send().await;
            let page = page.map_err(|e| about("ListEntitiesForPolicy", arn).failed(e))?;
            let users = page.policy_users().iter();
            found.extend(users.filter_map(|user| user.user_name().map(str::to_owned)));
            marker = page.marker().map(str::to_owned);
            if !page.is_truncated() || marker.is_none() {
                return Ok(found);
            }
        }
    }

    /// A page of the keys of a user, or of everybody where the store has no users.
    pub(super) async fn keys_page(
        &self,
        user: Option<&str>,
        from: Option<&Marker>,
    ) -> Result<Page<ListedKey>> {
        let request = self.client.list_access_keys();
        let request = request.set_user_name(user.map(str::to_owned));
        let page = request.set_marker(from.map(|marker| marker.0.clone()));
        let page = page.send().await;
        let what = user.unwrap_or("the store");
        let page = page.map_err(|error| about("ListAccessKeys", what).failed(error))?;
        let next = page.marker().filter(|_| page.is_truncated());
        let listed = page.access_key_metadata().iter().filter_map(|key| {
            Some(ListedKey {
                user: key.user_name().map(str::to_owned),
                id: key.access_key_id()?.to_owned(),
            })
        });
        Ok(Page {
            items: listed.collect(),
            next: next.map(|marker| Marker(marker.to_owned())),
        })
    }

    /// All keys of a user, or of everybody.
    pub(super) async fn keys(&self, user: Option<&str>) -> Result<Vec<ListedKey>> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = self.keys_page(user, from.as_ref()).await?;
            found.extend(page.items);
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn create_key(&self, user: &str) -> Result<NewKey> {
        let made = self.client.create_access_key().user_name(user).send().await;
        let made = made.map_err(|error| about("CreateAccessKey", user).failed(error))?;
        let key = made.access_key;
        let key = key.ok_or_else(|| no("CreateAccessKey", "a key"))?;
        if key.access_key_id.is_empty() || key.secret_access_key.is_empty() {
            return Err(no("CreateAccessKey", "both halves of a key"));
        }
        Ok(NewKey {
            access_key_id: key.access_key_id,
            secret_access_key: key.secret_access_key.into(),
        })
    }

    pub(super) async fn delete_key(&self, user: Option<&str>, id: &str) -> Result<()> {
        let request = self.client.delete_access_key().access_key_id(id);
        let deleted = request.set_user_name(user.map(str::to_owned)).send().await;
        deleted
            .map(drop)
            .map_err(|error| about("DeleteAccessKey", id).failed(error))
    }
}

fn about<'a>(action: &'a str, what: &'a str) -> Asked<'a> {
    Asked { action, what }
}

/// The call was done and its answer is not what it should be: as if there were none.
fn no(action: &str, what: &str) -> Error {
    Error::Unavailable {
        action: action.into(),
        reason: format!("the answer has not {what}"),
        retry_after: None,
    }
}
