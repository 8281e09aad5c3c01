//! A registry of each kind with its reader and its writer, and the suite that both pass.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifacts_registrar::chain::{ChainPlace, ChainRegistrar, Wallet, deploy};
use artifacts_registrar::documents::DocumentRegistrar;
use artifacts_registrar::{ListedScope, NewDevice, Registrar, RegistrarError};
use model::{Actor, DeviceId, ServiceName};
use proptest::prelude::*;
use registry::chain::{ChainRegistry, ChainSettings, RpcUrl};
use registry::documents::folder::{advance_epoch, begin_epochs};
use registry::documents::{DocumentRegistry, DocumentSettings, Pins, Source};
use registry::{Question, Registry, Roles, Scope};
use testkit::anvil::{Anvil, CHAIN_ID, KEYS};
use vault::{DeviceKey, SignEs256};

/// The promise: what was revoked is refused by then.
pub(crate) const PROMISE: Duration = Duration::from_secs(2);

pub(crate) const ALLOWED: Scope = Scope {
    in_scope: true,
    read_only: false,
};

/// One registry, an operator who writes to it, and a worker's reader of it.
pub(crate) struct Lab {
    pub(crate) registrar: Arc<dyn Registrar>,
    pub(crate) reader: Arc<dyn Registry>,
    pub(crate) deployment: Deployment,
}

/// Who runs it.
pub(crate) enum Deployment {
    Chain(Box<Chain>),
    Documents(Box<Documents>),
}

pub(crate) struct Chain {
    pub(crate) anvil: Anvil,
    pub(crate) place: ChainPlace,
    pub(crate) owner: ChainRegistrar,
}

pub(crate) struct Documents {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: DeviceKey,
}

impl Documents {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("documents")
    }
}

pub(crate) fn wallet(n: usize) -> Wallet {
    Wallet::from_hex(KEYS[n]).unwrap()
}

/// Contracts on anvil; the operator is its second account, the owner its first.
pub(crate) async fn chain() -> Lab {
    chain_read(registry::chain::FRESH_FOR).await
}

/// The same, with a reader that asks for the newest block so often.
pub(crate) async fn chain_read(fresh_for: Duration) -> Lab {
    let anvil = Anvil::start().unwrap();
    let rpc: RpcUrl = anvil.endpoint().parse().unwrap();
    let deployed = deploy(vec![rpc.clone()], CHAIN_ID, &wallet(0))
        .await
        .unwrap();
    let place = deployed.place(vec![rpc]);
    let settings = ChainSettings {
        fresh_for,
        ..settings(&place)
    };
    let registry = ChainRegistry::open(settings).unwrap();
    registry.check().await.unwrap();
    let owner = ChainRegistrar::new(place.clone(), wallet(0), None).unwrap();
    let registrar = ChainRegistrar::new(place.clone(), wallet(1), None).unwrap();
    Lab {
        registrar: Arc::new(registrar),
        reader: Arc::new(registry),
        deployment: Deployment::Chain(Box::new(Chain {
            anvil,
            place,
            owner,
        })),
    }
}

pub(crate) fn settings(place: &ChainPlace) -> ChainSettings {
    ChainSettings {
        rpc: place.rpc.clone(),
        chain_id: place.chain_id,
        device_registry: place.device_registry,
        scope_contract: place.scope_contract,
        epoch_counter: place.epoch_counter,
        fresh_for: registry::chain::FRESH_FOR,
        // anvil makes blocks for transactions only.
        oldest_head: None,
    }
}

/// Documents in a folder.
pub(crate) async fn documents(fresh_for: Duration) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let key = DeviceKey::generate().unwrap();
    let deployment = Documents { folder, key };
    let path = deployment.path();
    begin_epochs(&path, &deployment.key).await.unwrap();
    let operator = Actor::from_oidc("https://accounts.example", "ada").unwrap();
    let key = Arc::new(DeviceKey::generate().unwrap());
    let pins = deployment.folder.path().join("operators.json");
    let pinned = Pins::new(
        deployment.key.public_jwk().clone(),
        [(operator.clone(), key.public_jwk().clone())],
    );
    std::fs::write(&pins, pinned.unwrap().to_json()).unwrap();
    let registry = DocumentRegistry::open(DocumentSettings {
        source: Source::Folder(path.clone()),
        pins,
        seen: deployment.folder.path().join("seen.json"),
        fresh_for,
    });
    Lab {
        registrar: Arc::new(DocumentRegistrar::new(path, operator, key)),
        reader: Arc::new(registry.unwrap()),
        deployment: Deployment::Documents(Box::new(deployment)),
    }
}

impl Lab {
    pub(crate) fn operator(&self) -> &Actor {
        self.registrar.operator()
    }

    pub(crate) fn agent(&self) -> Actor {
        self.operator().agent("ci").unwrap()
    }

    async fn advance_epoch(&self) -> u32 {
        match &self.deployment {
            Deployment::Chain(chain) => chain.owner.advance_epoch().await.unwrap(),
            Deployment::Documents(d) => advance_epoch(&d.path(), &d.key).await.unwrap(),
        }
    }

    async fn scope(&self, actor: &Actor, name: &str) -> Scope {
        let service = service(name);
        let scope = self.reader.scope(self.operator(), actor, &service).await;
        scope.unwrap()
    }

    /// Waits for an answer, for as long as the promise says.
    async fn until<T: PartialEq + std::fmt::Debug>(
        &self,
        wanted: T,
        ask: impl AsyncFn() -> T,
    ) -> Duration {
        let begun = Instant::now();
        loop {
            let told = ask().await;
            let waited = begun.elapsed();
            if told == wanted {
                return waited;
            }
            assert!(
                waited < PROMISE,
                "after {waited:?} still {told:?}, not {wanted:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::new([n; 32])
}

pub(crate) fn new_device(n: u8, actor: &Actor, roles: u32) -> NewDevice {
    NewDevice {
        device: device(n),
        actor: actor.clone(),
        roles: Roles(roles),
        tier: 1,
    }
}

/// What every registry does alike.
pub(crate) async fn passes_the_suite(lab: &Lab) {
    nothing_is_allowed_at_first(lab).await;
    devices_are_registered_once(lab).await;
    scopes_are_set_read_and_revoked(lab).await;
    one_question_is_answered_as_three_are(lab).await;
    a_revoked_device_stays_so(lab).await;
    assert_eq!(lab.advance_epoch().await, 2);
    let epoch = async || lab.reader.current_epoch().await.unwrap();
    lab.until(2, epoch).await;
}

async fn nothing_is_allowed_at_first(lab: &Lab) {
    let operator = lab.operator();
    assert_eq!(lab.reader.device(operator, &device(1)).await.unwrap(), None);
    for actor in [operator, &lab.agent()] {
        assert_eq!(lab.scope(actor, "openrouter").await, Scope::NONE);
    }
    assert_eq!(lab.reader.current_epoch().await.unwrap(), 1);
    assert_eq!(lab.registrar.devices().await.unwrap(), []);
    assert_eq!(lab.registrar.scopes().await.unwrap(), []);
}

async fn devices_are_registered_once(lab: &Lab) {
    let (operator, agent) = (lab.operator().clone(), lab.agent());
    let own = new_device(1, &operator, 3);
    lab.registrar.register(&own).await.unwrap();
    lab.registrar
        .register(&new_device(2, &agent, 1))
        .await
        .unwrap();
    let again = lab.registrar.register(&own).await;
    assert_eq!(again, Err(RegistrarError::DeviceKnown(device(1))));
    let master = lab.registrar.register(&new_device(3, &agent, 2)).await;
    assert_eq!(master, Err(RegistrarError::MasterOfAgent));
    for roles in [0, 4] {
        let refused = lab
            .registrar
            .register(&new_device(3, &operator, roles))
            .await;
        assert_eq!(refused, Err(RegistrarError::Roles(roles)));
    }
    for (n, actor, roles) in [(1, &operator, 3), (2, &agent, 1)] {
        let about = async || {
            let told = lab.reader.device(&operator, &device(n)).await.unwrap();
            told.map(|d| (d.operator, d.actor, d.roles.0, d.tier, d.revoked))
        };
        let wanted = Some((operator.clone(), actor.clone(), roles, 1, false));
        lab.until(wanted, about).await;
    }
    let listed = lab.registrar.devices().await.unwrap();
    let ids: Vec<DeviceId> = listed.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [device(1), device(2)]);
    assert!(listed.iter().all(|(_, d)| d.registered_at > 1_700_000_000));
}

async fn scopes_are_set_read_and_revoked(lab: &Lab) {
    let (operator, agent) = (lab.operator().clone(), lab.agent());
    let names = [service("openrouter"), service("github")];
    lab.registrar.set_scope(&agent, &names, true).await.unwrap();
    let read_only = Scope {
        in_scope: true,
        read_only: true,
    };
    for name in ["openrouter", "github"] {
        lab.until(read_only, async || lab.scope(&agent, name).await)
            .await;
    }
    assert_eq!(lab.scope(&operator, "github").await, Scope::NONE);
    assert_eq!(lab.scope(&agent, "stripe").await, Scope::NONE);
    lab.registrar
        .set_scope(&agent, &names[..1], false)
        .await
        .unwrap();
    lab.until(ALLOWED, async || lab.scope(&agent, "openrouter").await)
        .await;
    let listed = lab.registrar.scopes().await.unwrap();
    let is = |scope: &ListedScope, name: &str, read_only: bool| {
        scope.actor == agent && scope.service.is(&service(name)) && scope.read_only == read_only
    };
    assert_eq!(listed.len(), 2);
    assert!(
        listed.iter().any(|s| is(s, "openrouter", false)),
        "{listed:?}"
    );
    assert!(listed.iter().any(|s| is(s, "github", true)), "{listed:?}");

    let gone = [service("openrouter"), service("never-set")];
    lab.registrar.revoke_scope(&agent, &gone).await.unwrap();
    lab.until(Scope::NONE, async || lab.scope(&agent, "openrouter").await)
        .await;
    assert_eq!(lab.scope(&agent, "github").await, read_only);
    assert_eq!(lab.registrar.scopes().await.unwrap().len(), 1);
}

async fn one_question_is_answered_as_three_are(lab: &Lab) {
    let (operator, agent) = (lab.operator().clone(), lab.agent());
    let (device, github) = (device(2), service("github"));
    for service in [None, Some(&github)] {
        let question = Question {
            operator: &operator,
            actor: &agent,
            device: &device,
            service,
        };
        let answers = lab.reader.answers(&question).await.unwrap();
        assert_eq!(
            answers.device,
            lab.reader.device(&operator, &device).await.unwrap()
        );
        assert!(answers.device.is_some());
        assert_eq!(answers.epoch, lab.reader.current_epoch().await.unwrap());
        assert_eq!(answers.scope.is_some(), service.is_some());
        assert!(
            answers
                .scope
                .is_none_or(|scope| scope.in_scope && scope.read_only)
        );
    }
}

async fn a_revoked_device_stays_so(lab: &Lab) {
    let (operator, agent) = (lab.operator().clone(), lab.agent());
    lab.registrar.revoke_device(&device(2)).await.unwrap();
    let revoked = async || {
        let told = lab.reader.device(&operator, &device(2)).await.unwrap();
        told.map(|device| device.revoked)
    };
    lab.until(Some(true), revoked).await;
    let gone = Err(RegistrarError::DeviceRevoked(device(2)));
    assert_eq!(lab.registrar.revoke_device(&device(2)).await, gone);
    assert_eq!(
        lab.registrar.register(&new_device(2, &agent, 1)).await,
        gone
    );
    let unknown = lab.registrar.revoke_device(&device(9)).await;
    assert_eq!(unknown, Err(RegistrarError::DeviceUnknown(device(9))));
}

/// One change of scopes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Set(usize, usize, bool),
    Revoke(usize, usize),
}

const NAMES: [&str; 3] = ["openrouter", "github", "stripe"];

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..2_usize, 0..3_usize, any::<bool>()).prop_map(|(a, s, r)| Step::Set(a, s, r)),
        (0..2_usize, 0..3_usize).prop_map(|(a, s)| Step::Revoke(a, s)),
    ]
}

/// After every step, exactly what was set and not revoked since is in scope.
pub(crate) async fn follow(lab: &Lab, steps: Vec<Step>) {
    let actors = [lab.operator().clone(), lab.agent()];
    let mut model = [[Scope::NONE; 3]; 2];
    for step in steps {
        match step {
            Step::Set(a, s, read_only) => {
                let names = [service(NAMES[s])];
                lab.registrar
                    .set_scope(&actors[a], &names, read_only)
                    .await
                    .unwrap();
                model[a][s] = Scope {
                    in_scope: true,
                    read_only,
                };
            }
            Step::Revoke(a, s) => {
                let names = [service(NAMES[s])];
                lab.registrar
                    .revoke_scope(&actors[a], &names)
                    .await
                    .unwrap();
                model[a][s] = Scope::NONE;
            }
        }
        for (a, actor) in actors.iter().enumerate() {
            for (s, name) in NAMES.iter().enumerate() {
                let told = lab
                    .reader
                    .scope(lab.operator(), actor, &service(name))
                    .await
                    .unwrap();
                assert_eq!(told, model[a][s], "{actor} {name}");
            }
        }
    }
}
