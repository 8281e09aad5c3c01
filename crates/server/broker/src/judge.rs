//! What the registry allows, judged in the worker's order (formats §4). The worker judges again
//! and takes nobody's word; the broker does it to refuse early and to notice when it ends.

use api::vault::Reason;
use model::{Actor, DeviceId, ServiceName};
use registry::{Answers, Question, Roles};
use vault::Op;

use crate::app::App;

/// Who wants to do what, by which device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) operator: &'a Actor,
    pub(crate) actor: &'a Actor,
    pub(crate) device: &'a DeviceId,
    pub(crate) op: Op,
    pub(crate) service: Option<&'a ServiceName>,
}

impl<'a> Wanted<'a> {
    fn question(&self) -> Question<'a> {
        Question {
            operator: self.operator,
            actor: self.actor,
            device: self.device,
            service: self.service,
        }
    }

    /// Whether the answers allow it; the epoch that counts.
    pub(crate) fn judge(&self, answers: &Answers) -> Result<u32, Reason> {
        let device = answers.device.as_ref().ok_or(Reason::DeviceUnknown)?;
        if device.revoked {
            return Err(Reason::DeviceRevoked);
        }
        if device.operator != *self.operator || device.actor != *self.actor {
            return Err(Reason::DeviceBindingMismatch);
        }
        let allowed = match self.op {
            // Only an operator's own devices may, whatever the registry says of an agent's.
            Op::Teardown => device.roles.has(Roles::MASTER) && device.actor == device.operator,
            Op::Store | Op::Fetch | Op::List => device.roles.has(Roles::USE),
        };
        if !allowed {
            return Err(Reason::RoleMissing);
        }
        if self.service.is_some() {
            let scope = answers.scope.filter(|scope| scope.in_scope);
            let scope = scope.ok_or(Reason::ScopeDenied)?;
            if scope.read_only && self.op == Op::Store {
                return Err(Reason::ScopeReadOnly);
            }
        }
        Ok(answers.epoch)
    }
}

impl App {
    /// Asks the registry, and judges.
    pub(crate) async fn judge(&self, wanted: &Wanted<'_>) -> Result<u32, Reason> {
        let answers = self.registry.answers(&wanted.question()).await;
        wanted.judge(&answers.map_err(|error| self.unavailable(&error))?)
    }

    /// The reason goes to the log, a few times a minute; callers learn the word.
    pub(crate) fn unavailable(&self, error: &registry::Unavailable) -> Reason {
        if self.limits.complaints.check().is_ok() {
            tracing::warn!(%error, "nothing is allowed meanwhile");
        }
        Reason::RegistryUnavailable
    }
}

#[cfg(test)]
mod tests {
    use registry::{Device, Scope};

    use super::*;

    fn actor(name: &str) -> Actor {
        Actor::from_oidc("https://a", name).unwrap()
    }

    /// The first thing that is wrong is the reason, in the worker's order.
    #[test]
    fn reasons_come_in_the_worker_s_order() {
        let (ada, bob) = (actor("ada"), actor("bob"));
        let agent = ada.agent("ci").unwrap();
        let service: ServiceName = "openrouter".parse().unwrap();
        let id = DeviceId::new([1; 32]);
        let good = Answers {
            device: Some(Device {
                operator: ada.clone(),
                actor: agent.clone(),
                roles: Roles::USE,
                tier: 0,
                registered_at: 0,
                revoked: false,
            }),
            scope: Some(Scope {
                in_scope: true,
                read_only: false,
            }),
            epoch: 7,
        };
        let wanted = |op| Wanted {
            operator: &ada,
            actor: &agent,
            device: &id,
            op,
            service: Some(&service).filter(|_| matches!(op, Op::Store | Op::Fetch)),
        };
        for op in [Op::Store, Op::Fetch, Op::List] {
            assert_eq!(wanted(op).judge(&good), Ok(7));
        }
        let mut bad = good.clone();
        bad.scope = Some(Scope {
            in_scope: true,
            read_only: true,
        });
        assert_eq!(wanted(Op::Store).judge(&bad), Err(Reason::ScopeReadOnly));
        assert_eq!(wanted(Op::Fetch).judge(&bad), Ok(7));
        bad.scope = None;
        assert_eq!(wanted(Op::Fetch).judge(&bad), Err(Reason::ScopeDenied));
        bad.device.as_mut().unwrap().roles = Roles::MASTER;
        assert_eq!(wanted(Op::Fetch).judge(&bad), Err(Reason::RoleMissing));
        assert_eq!(wanted(Op::List).judge(&bad), Err(Reason::RoleMissing));
        // An agent's device with the master role is none.
        assert_eq!(wanted(Op::Teardown).judge(&bad), Err(Reason::RoleMissing));
        bad.device.as_mut().unwrap().operator = bob;
        let mismatch = Err(Reason::DeviceBindingMismatch);
        assert_eq!(wanted(Op::Fetch).judge(&bad), mismatch);
        bad.device.as_mut().unwrap().revoked = true;
        assert_eq!(wanted(Op::Fetch).judge(&bad), Err(Reason::DeviceRevoked));
        bad.device = None;
        assert_eq!(wanted(Op::Fetch).judge(&bad), Err(Reason::DeviceUnknown));
    }

    #[test]
    fn an_operator_s_master_device_tears_down() {
        let ada = actor("ada");
        let id = DeviceId::new([1; 32]);
        let wanted = Wanted {
            operator: &ada,
            actor: &ada,
            device: &id,
            op: Op::Teardown,
            service: None,
        };
        let mut answers = Answers {
            device: Some(Device {
                operator: ada.clone(),
                actor: ada.clone(),
                roles: Roles::MASTER,
                tier: 0,
                registered_at: 0,
                revoked: false,
            }),
            scope: None,
            epoch: 1,
        };
        assert_eq!(wanted.judge(&answers), Ok(1));
        answers.device.as_mut().unwrap().roles = Roles::USE;
        assert_eq!(wanted.judge(&answers), Err(Reason::RoleMissing));
    }
}
