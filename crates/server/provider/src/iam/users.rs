//! Stores with users: policy, user, attachment, key.

use super::{Dialect, IamProvider, out_of_order, policy_of_arn};
use crate::error::gone_is_done;
use crate::policy::{credential_of, policy_name_begin, user_name};
use crate::{Error, Grant, IssuedKey, KeyHandle, Marker, NewKey, Page, Result, Step};

pub(super) const STEPS: &[Step] = &[
    Step::EnsurePolicy,
    Step::EnsureUser,
    Step::Attach,
    Step::MintKey,
];

impl IamProvider {
    pub(super) async fn take_user_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>> {
        let user = user_name(&self.namespace, grant.credential);
        match step {
            Step::EnsurePolicy => self.ensure_policy(grant, handle).await?,
            Step::EnsureUser => {
                match self.calls.create_user(&user).await {
                    Err(Error::AlreadyExists { .. }) => {}
                    answer => answer?,
                }
                handle.user = Some(user);
            }
            Step::Attach => {
                let arn = handle.policy_arn.as_deref();
                let arn = arn.ok_or_else(|| out_of_order("a policy"))?;
                self.settled(self.calls.attach(&user, arn).await)?;
            }
            Step::MintKey => {
                let key = self.settled(self.mint(&user).await)?;
                handle.access_key_id = Some(key.access_key_id.clone());
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// A key whose secret was never seen by anyone opens nothing for anyone; but it counts
    /// against the user's two, and a list would show it.
    async fn mint(&self, user: &str) -> Result<NewKey> {
        self.end_keys(user).await?;
        self.calls.create_key(user).await
    }

    async fn end_keys(&self, user: &str) -> Result<()> {
        for key in self.calls.keys(Some(user)).await? {
            gone_is_done(self.calls.delete_key(Some(user), &key.id).await)?;
        }
        Ok(())
    }

    /// AWS does not know everywhere at once what it just made ("IAM is eventually
    /// consistent"): there, what the step before made and is not found will be found soon.
    fn settled<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(Error::NotFound { what }) if self.dialect == Dialect::Aws => {
                Err(Error::Unavailable {
                    action: "IAM".into(),
                    reason: format!("{what} is not known everywhere yet"),
                    retry_after: None,
                })
            }
            other => other,
        }
    }

    /// Keys first, so that nothing opens any more whatever happens next.
    pub(super) async fn revoke_user(&self, handle: &KeyHandle) -> Result<()> {
        let user = user_name(&self.namespace, handle.credential);
        gone_is_done(self.end_keys(&user).await)?;
        let attached = match self.calls.attached(&user).await {
            Err(Error::NotFound { .. }) => Vec::new(),
            answer => answer?,
        };
        for arn in &attached {
            gone_is_done(self.calls.detach(&user, arn).await)?;
        }
        gone_is_done(self.calls.delete_user(&user).await)?;
        let begin = policy_name_begin(&self.namespace, handle.credential);
        let mut policies = self.policies_of(handle).await?;
        policies.extend(
            attached
                .into_iter()
                .filter(|arn| policy_of_arn(arn).starts_with(&begin)),
        );
        policies.sort_unstable();
        policies.dedup();
        for arn in &policies {
            gone_is_done(self.calls.delete_policy(arn).await)?;
        }
        Ok(())
    }

    pub(super) async fn list_users(&self, from: Option<&Marker>) -> Result<Page<IssuedKey>> {
        let users = self.calls.users(from).await?;
        let mut items = Vec::new();
        for user in users.items {
            let Some(credential) = credential_of(&self.namespace, &user) else {
                continue;
            };
            let keys = match self.calls.keys(Some(&user)).await {
                // Revoked while we looked.
                Err(Error::NotFound { .. }) => continue,
                keys => keys?,
            };
            let ids: Vec<_> = keys.into_iter().map(|key| key.id).collect();
            let handle = KeyHandle {
                user: Some(user),
                access_key_id: ids.first().cloned(),
                ..KeyHandle::new(credential)
            };
            items.push(IssuedKey {
                handle,
                access_key_ids: ids,
            });
        }
        Ok(Page {
            items,
            next: users.next,
        })
    }
}
