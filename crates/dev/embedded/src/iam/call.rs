//! The calls, one short method each.

use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use super::answer::{
    AttachedAnswer, Done, KeyAnswer, Name, NewKeyResult, Page, PolicyAnswer, PolicyResult,
    UserAnswer, UserResult, VersionAnswer, VersionResult,
};
use super::directory::{Directory, policy_arn, user_arn};
use super::form::{Form, Window};
use super::refusal::Refusal;
use crate::keys::{AccessKey, Identity, Keys};
use crate::policy::Request;

mod providers;
mod roles;

const VERSION: &str = "2010-05-08";
const USER_NAME: usize = 64;
const POLICY_NAME: usize = 128;

/// A call of somebody who is known.
pub(super) struct Call {
    action: String,
    form: Form,
    caller: Arc<Identity>,
    keys: Arc<Keys>,
    now: OffsetDateTime,
}

type Answer = Result<Done, Refusal>;

impl Call {
    pub(super) fn new(
        mut form: Form,
        caller: Arc<Identity>,
        keys: Arc<Keys>,
        now: OffsetDateTime,
    ) -> Result<Self, Refusal> {
        let action = form.need("Action")?;
        match form.need("Version")?.as_str() {
            VERSION => Ok(Self {
                action,
                form,
                caller,
                keys,
                now,
            }),
            _ => Err(Refusal::no_such_action(&action)),
        }
    }

    pub(super) fn carry_out(mut self) -> Answer {
        match self.action.as_str() {
            "CreateUser" => self.create_user(),
            "GetUser" => self.get_user(),
            "DeleteUser" => self.delete_user(),
            "ListUsers" => self.list_users(),
            "CreatePolicy" => self.create_policy(),
            "GetPolicy" => self.get_policy(),
            "GetPolicyVersion" => self.get_policy_version(),
            "DeletePolicy" => self.delete_policy(),
            "ListPolicies" => self.list_policies(),
            "AttachUserPolicy" => self.attach(),
            "DetachUserPolicy" => self.detach(),
            "ListAttachedUserPolicies" => self.list_attached(),
            "PutUserPolicy" => self.put_inline(),
            "DeleteUserPolicy" => self.delete_inline(),
            "ListUserPolicies" => self.list_inline(),
            "CreateAccessKey" => self.create_key(),
            "UpdateAccessKey" => self.update_key(),
            "DeleteAccessKey" => self.delete_key(),
            "ListAccessKeys" => self.list_keys(),
            "CreateRole" => self.create_role(),
            "GetRole" => self.get_role(),
            "DeleteRole" => self.delete_role(),
            "ListRoles" => self.list_roles(),
            "UpdateRole" => self.update_role(),
            "UpdateAssumeRolePolicy" => self.update_trust(),
            "PutRolePolicy" => self.put_role_policy(),
            "GetRolePolicy" => self.get_role_policy(),
            "DeleteRolePolicy" => self.delete_role_policy(),
            "ListRolePolicies" => self.list_role_policies(),
            "AttachRolePolicy" => self.attach_to_role(),
            "DetachRolePolicy" => self.detach_from_role(),
            "ListAttachedRolePolicies" => self.list_attached_to_role(),
            "CreateOpenIDConnectProvider" => self.create_provider(),
            "GetOpenIDConnectProvider" => self.get_provider(),
            "DeleteOpenIDConnectProvider" => self.delete_provider(),
            "ListOpenIDConnectProviders" => self.list_providers(),
            "AddClientIDToOpenIDConnectProvider" => self.add_client(),
            "RemoveClientIDFromOpenIDConnectProvider" => self.remove_client(),
            unknown => Err(Refusal::no_such_action(unknown)),
        }
    }

    fn create_user(&mut self) -> Answer {
        let name = self.form.name("UserName", USER_NAME)?;
        let path = self.form.path()?;
        self.allow(&user_arn(&path, &name))?;
        let now = self.now;
        self.change(|directory| directory.create_user(&name, path, now))?;
        self.show_user(&name)
    }

    /// Without a name, the caller is meant.
    fn get_user(&mut self) -> Answer {
        let named = match self.form.take("UserName") {
            None => self.caller.user.clone(),
            named => named,
        };
        let Some(name) = named else {
            self.allow("*")?;
            let user = UserAnswer::root();
            return self.done(&UserResult { user });
        };
        self.allow(&self.arn_of(&name)?)?;
        self.show_user(&name)
    }

    fn delete_user(&mut self) -> Answer {
        let name = self.form.name("UserName", USER_NAME)?;
        self.allow(&self.arn_of(&name)?)?;
        self.change(|directory| directory.delete_user(&name))?;
        Ok(Done::silent(&self.action))
    }

    fn list_users(&mut self) -> Answer {
        let window = self.form.window()?;
        self.allow("*")?;
        let directory = self.keys.directory()?;
        let users = directory
            .users()
            .filter(|(_, user)| user.path.starts_with(&window.path_prefix));
        let page = page(users, &window, |(name, user)| UserAnswer::of(name, user));
        self.listing("Users", &page)
    }

    fn create_policy(&mut self) -> Answer {
        let name = self.form.name("PolicyName", POLICY_NAME)?;
        let path = self.form.path()?;
        let document = self.form.need("PolicyDocument")?;
        let arn = policy_arn(&path, &name);
        self.allow(&arn)?;
        let now = self.now;
        self.change(|directory| directory.create_policy(&name, path, document, now))?;
        self.show_policy(&arn)
    }

    fn get_policy(&mut self) -> Answer {
        let arn = self.form.need("PolicyArn")?;
        self.allow(&arn)?;
        self.show_policy(&arn)
    }

    fn get_policy_version(&mut self) -> Answer {
        let arn = self.form.need("PolicyArn")?;
        let version = self.form.need("VersionId")?;
        self.allow(&arn)?;
        let directory = self.keys.directory()?;
        let (_, policy) = directory.policy(&arn)?;
        if version != "v1" {
            return Err(Refusal::no_such("policy version", &version));
        }
        let policy_version = VersionAnswer::of(policy);
        self.done(&VersionResult { policy_version })
    }

    fn delete_policy(&mut self) -> Answer {
        let arn = self.form.need("PolicyArn")?;
        self.allow(&arn)?;
        self.change(|directory| directory.delete_policy(&arn))?;
        Ok(Done::silent(&self.action))
    }

    fn list_policies(&mut self) -> Answer {
        let window = self.form.window()?;
        // There are none of AWS's own.
        let own = self.form.take("Scope").is_none_or(|scope| scope != "AWS");
        let only_attached = self.form.take("OnlyAttached").as_deref() == Some("true");
        self.allow("*")?;
        let directory = self.keys.directory()?;
        let policies = directory.policies().filter(|(name, policy)| {
            own && policy.path.starts_with(&window.path_prefix)
                && (!only_attached || directory.attachments(name) > 0)
        });
        let page = page(policies, &window, |(name, policy)| {
            PolicyAnswer::of(name, policy, directory.attachments(name))
        });
        self.listing("Policies", &page)
    }

    fn attach(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let arn = self.form.need("PolicyArn")?;
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.attach(&user, &arn))?;
        Ok(Done::silent(&self.action))
    }

    fn detach(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let arn = self.form.need("PolicyArn")?;
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.detach(&user, &arn))?;
        Ok(Done::silent(&self.action))
    }

    fn list_attached(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let window = self.form.window()?;
        self.allow(&self.arn_of(&user)?)?;
        let directory = self.keys.directory()?;
        let attached = directory.user(&user)?.attached();
        // The policies are sorted by name already.
        let of_user = directory.policies().filter(|(name, policy)| {
            attached.iter().any(|other| other == name)
                && policy.path.starts_with(&window.path_prefix)
        });
        let page = page(of_user, &window, |(name, policy)| AttachedAnswer {
            policy_name: name,
            policy_arn: policy_arn(&policy.path, name),
        });
        self.listing("AttachedPolicies", &page)
    }

    fn put_inline(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let name = self.form.name("PolicyName", POLICY_NAME)?;
        let document = self.form.need("PolicyDocument")?;
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.put_inline(&user, name, document))?;
        Ok(Done::silent(&self.action))
    }

    fn delete_inline(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let name = self.form.name("PolicyName", POLICY_NAME)?;
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.delete_inline(&user, &name))?;
        Ok(Done::silent(&self.action))
    }

    fn list_inline(&mut self) -> Answer {
        let user = self.form.name("UserName", USER_NAME)?;
        let window = self.form.window()?;
        self.allow(&self.arn_of(&user)?)?;
        let directory = self.keys.directory()?;
        let names = directory.user(&user)?.inline_names().map(|name| (name, ()));
        let page = page(names, &window, |(name, ())| Name { name });
        self.listing("PolicyNames", &page)
    }

    fn create_key(&mut self) -> Answer {
        let user = self.user_or_caller()?;
        self.allow(&self.arn_of(&user)?)?;
        let (key, now) = (AccessKey::random(), self.now);
        self.change(|directory| directory.create_key(&user, &key, now))?;
        self.done(&NewKeyResult::of(&user, &key, now))
    }

    fn update_key(&mut self) -> Answer {
        let user = self.user_or_caller()?;
        let id = self.form.need("AccessKeyId")?;
        let active = match self.form.need("Status")?.as_str() {
            "Active" => true,
            "Inactive" => false,
            _ => return Err(Refusal::validation("Status is Active or Inactive")),
        };
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.set_key_status(&user, &id, active))?;
        Ok(Done::silent(&self.action))
    }

    fn delete_key(&mut self) -> Answer {
        let user = self.user_or_caller()?;
        let id = self.form.need("AccessKeyId")?;
        self.allow(&self.arn_of(&user)?)?;
        self.change(|directory| directory.delete_key(&user, &id))?;
        Ok(Done::silent(&self.action))
    }

    fn list_keys(&mut self) -> Answer {
        let user = self.user_or_caller()?;
        let window = self.form.window()?;
        self.allow(&self.arn_of(&user)?)?;
        let directory = self.keys.directory()?;
        let mut keys: Vec<_> = directory.user(&user)?.keys().iter().collect();
        keys.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        let keys = keys.into_iter().map(|key| (key.id.as_str(), key));
        let page = page(keys, &window, |(_, key)| KeyAnswer::of(&user, key));
        self.listing("AccessKeyMetadata", &page)
    }

    /// The keys calls mean the caller's own keys where they name nobody. The root key has no
    /// user.
    fn user_or_caller(&mut self) -> Result<String, Refusal> {
        let own = self.caller.user.clone();
        match own.filter(|_| !self.form.has("UserName")) {
            Some(own) => Ok(own),
            None => self.form.name("UserName", USER_NAME),
        }
    }

    /// A user that is not there has the ARN that it would have, so that who may not ask
    /// does not learn whether it is there.
    fn arn_of(&self, user: &str) -> Result<String, Refusal> {
        let directory = self.keys.directory()?;
        let path = directory.user(user).map_or("/", |user| user.path.as_str());
        Ok(user_arn(path, user))
    }

    /// Asks the caller's policy; the parameters must all have been taken.
    fn allow(&self, resource: &str) -> Result<(), Refusal> {
        let action = format!("iam:{}", self.action);
        let request = Request {
            action: &action,
            resource: resource.to_owned(),
            principal: Some(Arc::clone(&self.caller.principal)),
            ..Request::default()
        };
        let policy = self.caller.policy.as_ref();
        if policy.is_none_or(|policy| policy.allows(&request)) {
            self.form.finish()
        } else {
            Err(Refusal::denied(&action, resource))
        }
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Directory) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.keys.change_directory(change)
    }

    fn show_user(&self, name: &str) -> Answer {
        let directory = self.keys.directory()?;
        let user = UserAnswer::of(name, directory.user(name)?);
        self.done(&UserResult { user })
    }

    fn show_policy(&self, arn: &str) -> Answer {
        let directory = self.keys.directory()?;
        let (name, policy) = directory.policy(arn)?;
        let policy = PolicyAnswer::of(name, policy, directory.attachments(name));
        self.done(&PolicyResult { policy })
    }

    fn done(&self, value: &impl Serialize) -> Answer {
        Done::with(&self.action, value)
    }

    fn listing<T: Serialize>(&self, list: &str, page: &Page<T>) -> Answer {
        Done::listing(&self.action, list, page)
    }
}

/// Cuts a page out of a list that is sorted by name.
fn page<'a, T, R>(
    all: impl Iterator<Item = (&'a str, T)>,
    window: &Window,
    show: impl Fn((&'a str, T)) -> R,
) -> Page<R> {
    let after = window.after.as_deref();
    let mut rest = all
        .filter(|(name, _)| after.is_none_or(|after| *name > after))
        .peekable();
    let (mut members, mut last) = (Vec::new(), "");
    while members.len() < window.most
        && let Some((name, item)) = rest.next()
    {
        last = name;
        members.push(show((name, item)));
    }
    let marker = rest.peek().map(|_| last.to_owned());
    Page { members, marker }
}
