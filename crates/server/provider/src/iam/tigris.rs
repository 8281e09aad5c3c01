//! Tigris: keys without users; where IAM says "user", it means the key's id (`tid_…`).
//!
//! Sources: Tigris's documentation, "Supported IAM operations", "IAM policy support",
//! "Attach an IAM policy". What could not be tried is in docs/providers.md.

use super::{IamProvider, out_of_order};
use crate::error::gone_is_done;
use crate::policy::{credential_of, user_name};
use crate::{Error, Grant, IssuedKey, KeyHandle, Marker, NewKey, Page, Result, Step};

const STEPS: &[Step] = &[Step::EnsurePolicy, Step::MintKey, Step::Attach];

pub(super) fn steps(grant: &Grant) -> Result<&'static [Step]> {
    match grant.scope.prefix {
        None => Ok(STEPS),
        Some(_) => Err(Error::unsupported(
            "keys for a part of a bucket: its policies have no condition for the prefix of a list",
        )),
    }
}

impl IamProvider {
    pub(super) async fn take_key_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>> {
        match step {
            Step::EnsurePolicy => self.ensure_policy(grant, handle).await?,
            Step::MintKey => {
                for id in self.keys_of(handle).await? {
                    gone_is_done(self.calls.delete_key(None, &id).await)?;
                }
                let name = user_name(&self.namespace, grant.credential);
                let key = self.calls.create_key(&name).await?;
                handle.access_key_id = Some(key.access_key_id.clone());
                return Ok(Some(key));
            }
            Step::Attach => {
                let arn = handle.policy_arn.as_deref();
                let arn = arn.ok_or_else(|| out_of_order("a policy"))?;
                let id = handle.access_key_id.as_deref();
                let id = id.ok_or_else(|| out_of_order("a key"))?;
                self.calls.attach(id, arn).await?;
            }
            Step::EnsureUser => return Err(Error::unsupported("users")),
        }
        Ok(None)
    }

    /// Rights first, then the key, then the policy.
    pub(super) async fn revoke_key(&self, handle: &KeyHandle) -> Result<()> {
        let policies = self.policies_of(handle).await?;
        let mut keys = self.keys_of(handle).await?;
        for arn in &policies {
            let holders = match self.calls.holders(arn).await {
                Err(Error::NotFound { .. }) => Vec::new(),
                holders => holders?,
            };
            keys.extend(holders);
        }
        keys.sort_unstable();
        keys.dedup();
        for id in &keys {
            for arn in &policies {
                gone_is_done(self.calls.detach(id, arn).await)?;
            }
            gone_is_done(self.calls.delete_key(None, id).await)?;
        }
        for arn in &policies {
            gone_is_done(self.calls.delete_policy(arn).await)?;
        }
        Ok(())
    }

    pub(super) async fn list_named_keys(&self, from: Option<&Marker>) -> Result<Page<IssuedKey>> {
        let page = self.calls.keys_page(None, from).await?;
        let ours = page.items.into_iter().filter_map(|key| {
            let credential = credential_of(&self.namespace, key.user.as_deref()?)?;
            let handle = KeyHandle {
                access_key_id: Some(key.id.clone()),
                ..KeyHandle::new(credential)
            };
            Some(IssuedKey {
                handle,
                access_key_ids: vec![key.id],
            })
        });
        Ok(Page {
            items: ours.collect(),
            next: page.next,
        })
    }

    /// The keys of a credential: the one of the handle, and those with its name.
    async fn keys_of(&self, handle: &KeyHandle) -> Result<Vec<String>> {
        let name = user_name(&self.namespace, handle.credential);
        let listed = self.calls.keys(None).await?.into_iter();
        let named = listed.filter(|key| key.user.as_deref() == Some(&name));
        let mut ids: Vec<_> = named.map(|key| key.id).collect();
        ids.extend(handle.access_key_id.clone().filter(|id| !ids.contains(id)));
        Ok(ids)
    }
}
