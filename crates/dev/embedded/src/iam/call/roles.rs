//! The calls about roles.

use super::{Answer, Call, POLICY_NAME, page};
use crate::iam::answer::{AttachedAnswer, Done, Name, RoleAnswer, RolePolicyResult, RoleResult};
use crate::iam::directory::{NewRole, policy_arn, role_arn};
use crate::iam::refusal::Refusal;

const ROLE_NAME: usize = 64;
const USUAL_SECONDS: i64 = 3_600;

impl Call {
    pub(super) fn create_role(&mut self) -> Answer {
        let name = self.form.name("RoleName", ROLE_NAME)?;
        let new = NewRole {
            path: self.form.path()?,
            description: self.form.take("Description").unwrap_or_default(),
            max_seconds: self.max_seconds()?.unwrap_or(USUAL_SECONDS),
            trust: self.form.need("AssumeRolePolicyDocument")?,
        };
        self.allow(&role_arn(&new.path, &name))?;
        let now = self.now;
        self.change(|directory| directory.create_role(&name, new, now))?;
        self.show_role(&name)
    }

    pub(super) fn get_role(&mut self) -> Answer {
        let name = self.role()?;
        self.show_role(&name)
    }

    pub(super) fn delete_role(&mut self) -> Answer {
        let name = self.role()?;
        self.change(|directory| directory.delete_role(&name))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn list_roles(&mut self) -> Answer {
        let window = self.form.window()?;
        self.allow("*")?;
        let directory = self.keys.directory()?;
        let roles = directory
            .roles()
            .filter(|(_, role)| role.path.starts_with(&window.path_prefix));
        let page = page(roles, &window, |(name, role)| RoleAnswer::of(name, role));
        self.listing("Roles", &page)
    }

    pub(super) fn update_trust(&mut self) -> Answer {
        let trust = self.form.need("PolicyDocument")?;
        let name = self.role()?;
        self.change(|directory| directory.update_trust(&name, trust))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn update_role(&mut self) -> Answer {
        let description = self.form.take("Description");
        let max_seconds = self.max_seconds()?;
        let name = self.role()?;
        self.change(|directory| directory.update_role(&name, description, max_seconds))?;
        // Unlike most, this call answers an empty result.
        Done::with(&self.action, &())
    }

    pub(super) fn put_role_policy(&mut self) -> Answer {
        let policy = self.form.name("PolicyName", POLICY_NAME)?;
        let document = self.form.need("PolicyDocument")?;
        let role = self.role()?;
        self.change(|directory| directory.put_role_policy(&role, policy, document))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn get_role_policy(&mut self) -> Answer {
        let policy = self.form.name("PolicyName", POLICY_NAME)?;
        let role = self.role()?;
        let directory = self.keys.directory()?;
        let document = directory.role(&role)?.inline(&policy)?;
        self.done(&RolePolicyResult::of(&role, &policy, document))
    }

    pub(super) fn delete_role_policy(&mut self) -> Answer {
        let policy = self.form.name("PolicyName", POLICY_NAME)?;
        let role = self.role()?;
        self.change(|directory| directory.delete_role_policy(&role, &policy))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn list_role_policies(&mut self) -> Answer {
        let window = self.form.window()?;
        let role = self.role()?;
        let directory = self.keys.directory()?;
        let names = directory.role(&role)?.inline_names().map(|name| (name, ()));
        let page = page(names, &window, |(name, ())| Name { name });
        self.listing("PolicyNames", &page)
    }

    pub(super) fn attach_to_role(&mut self) -> Answer {
        let arn = self.form.need("PolicyArn")?;
        let role = self.role()?;
        self.change(|directory| directory.attach_to_role(&role, &arn))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn detach_from_role(&mut self) -> Answer {
        let arn = self.form.need("PolicyArn")?;
        let role = self.role()?;
        self.change(|directory| directory.detach_from_role(&role, &arn))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn list_attached_to_role(&mut self) -> Answer {
        let window = self.form.window()?;
        let role = self.role()?;
        let directory = self.keys.directory()?;
        let attached = directory.role(&role)?.attached();
        let of_role = directory.policies().filter(|(name, policy)| {
            attached.iter().any(|other| other == name)
                && policy.path.starts_with(&window.path_prefix)
        });
        let page = page(of_role, &window, |(name, policy)| AttachedAnswer {
            policy_name: name,
            policy_arn: policy_arn(&policy.path, name),
        });
        self.listing("AttachedPolicies", &page)
    }

    /// The role that is named, if the caller may do this to it. A role that is not there has
    /// the ARN that it would have, so that who may not ask does not learn whether it is there.
    fn role(&mut self) -> Result<String, Refusal> {
        let name = self.form.name("RoleName", ROLE_NAME)?;
        let directory = self.keys.directory()?;
        let path = directory.role(&name).map_or("/", |role| role.path.as_str());
        self.allow(&role_arn(path, &name))?;
        Ok(name)
    }

    fn max_seconds(&mut self) -> Result<Option<i64>, Refusal> {
        let text = self.form.take("MaxSessionDuration");
        let number = text.map(|text| text.parse()).transpose();
        number.map_err(|_| Refusal::validation("MaxSessionDuration is not a number"))
    }

    fn show_role(&self, name: &str) -> Answer {
        let directory = self.keys.directory()?;
        let role = RoleAnswer::of(name, directory.role(name)?);
        self.done(&RoleResult { role })
    }
}
