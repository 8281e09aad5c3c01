//! Where an envelope belongs.

use model::{Actor, ServiceName};

/// Whose credential of which service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Who owns the vault.
    pub operator: &'a Actor,
    /// Whose credential it is: the operator's own, or an agent's.
    pub actor: &'a Actor,
    /// What it is for.
    pub service: &'a ServiceName,
}

impl Place<'_> {
    /// The key of the object that holds it: `bots/<actor>/credentials/<service>.enc`.
    pub fn object_key(&self) -> String {
        format!("{}{}.enc", Place::prefix(self.actor), self.service)
    }

    /// What the keys of all credentials of an actor begin with.
    pub fn prefix(actor: &Actor) -> String {
        format!("bots/{actor}/credentials/")
    }

    /// The service of an object's key; `None` if it is no credential of this actor.
    pub fn service_of(actor: &Actor, key: &str) -> Option<ServiceName> {
        let name = key
            .strip_prefix(&Place::prefix(actor))?
            .strip_suffix(".enc")?;
        let service: ServiceName = name.parse().ok()?;
        (service.as_str() == name).then_some(service)
    }
}
