//! Contracts on a real chain (anvil), written and read; and RPCs that fail or lie.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use std::time::{Duration, Instant};

use artifacts_registrar::chain::{Anchor, ChainPlace, ChainRegistrar, anchors};
use artifacts_registrar::{Registrar, RegistrarError};
use lab::{
    ALLOWED, Chain, Deployment, Lab, chain, chain_read, device, follow, new_device,
    passes_the_suite, service, settings, step, wallet,
};
use model::Actor;
use proptest::prelude::*;
use registry::chain::{ChainRegistry, ChainSettings, RpcUrl};
use registry::{Registry, Scope, Unavailable};
use testkit::anvil::Anvil;
use testkit::proxy::{Mode, Proxy};
use testkit::require;
use testkit::tools::Tool;

fn of_chain(lab: &Lab) -> &Chain {
    match &lab.deployment {
        Deployment::Chain(chain) => chain,
        Deployment::Documents(_) => panic!("a chain"),
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Unavailable>, words: &str) {
    let Unavailable(reason) = answer.unwrap_err();
    assert!(reason.contains(words), "expected {words:?}, got {reason:?}");
}

/// A reader that never keeps what it was told.
fn reader(lab: &Lab, rpc: &[String]) -> ChainRegistry {
    let rpc: Vec<RpcUrl> = rpc.iter().map(|url| url.parse().unwrap()).collect();
    ChainRegistry::open(ChainSettings {
        rpc,
        fresh_for: Duration::ZERO,
        ..settings(&of_chain(lab).place)
    })
    .unwrap()
}

#[tokio::test]
async fn contracts_pass_the_suite() {
    let _ = require!(Tool::Anvil);
    passes_the_suite(&chain().await).await;
}

#[tokio::test]
async fn only_the_operators_own_wallet_writes_and_only_the_owner_advances() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let Chain { place, owner, .. } = of_chain(&lab);
    let operator = lab.operator().clone();
    assert_eq!(
        operator,
        wallet(1).actor().unwrap(),
        "computed here and on the chain alike"
    );
    lab.registrar
        .register(&new_device(1, &operator, 3))
        .await
        .unwrap();
    let denied = RegistrarError::NotController(operator.clone());
    for n in [0, 2] {
        let thief = ChainRegistrar::new(place.clone(), wallet(n), Some(operator.clone())).unwrap();
        let names = [service("openrouter")];
        assert_eq!(
            thief.register(&new_device(2, &operator, 1)).await,
            Err(denied.clone())
        );
        assert_eq!(thief.revoke_device(&device(1)).await, Err(denied.clone()));
        assert_eq!(
            thief.set_scope(&operator, &names, false).await,
            Err(denied.clone())
        );
        assert_eq!(
            thief.revoke_scope(&operator, &names).await,
            Err(denied.clone())
        );
        assert_eq!(thief.anchor([1; 32], 1).await, Err(denied.clone()));
    }
    let operators = ChainRegistrar::new(place.clone(), wallet(1), None).unwrap();
    assert_eq!(
        operators.advance_epoch().await,
        Err(RegistrarError::NotOwner)
    );
    let assigned = operators
        .assign_controller(&operator, wallet(2).address())
        .await;
    assert_eq!(assigned, Err(RegistrarError::NotOwner));
    // The wallet has written for itself: the owner has no say in it any more.
    let assigned = owner
        .assign_controller(&operator, wallet(0).address())
        .await;
    assert!(
        matches!(assigned, Err(RegistrarError::Reverted(_))),
        "{assigned:?}"
    );
}

#[tokio::test]
async fn an_operator_without_a_wallet_is_given_a_controller_once() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let Chain { place, owner, .. } = of_chain(&lab);
    let ada = Actor::from_oidc("https://accounts.example", "ada").unwrap();
    let hers = || ChainRegistrar::new(place.clone(), wallet(2), Some(ada.clone())).unwrap();
    let device_of_hers = new_device(5, &ada, 3);
    let denied = RegistrarError::NotController(ada.clone());
    assert_eq!(hers().register(&device_of_hers).await, Err(denied));
    owner
        .assign_controller(&ada, wallet(2).address())
        .await
        .unwrap();
    hers().register(&device_of_hers).await.unwrap();
    let again = owner.assign_controller(&ada, wallet(0).address()).await;
    assert!(
        matches!(again, Err(RegistrarError::Reverted(_))),
        "{again:?}"
    );
}

/// Whatever the one did whom the owner gave the number to is gone with the wallet's first write,
/// whichever that is.
#[tokio::test]
async fn a_wallet_takes_its_own_number_back_and_nothing_of_the_squatters_counts() {
    let _ = require!(Tool::Anvil);
    for first_write in 0..3 {
        let lab = chain().await;
        let Chain { place, owner, .. } = of_chain(&lab);
        let (operator, names) = (lab.operator().clone(), [service("openrouter")]);
        let reader = reader(&lab, &[of_chain(&lab).anvil.endpoint()]);
        owner
            .assign_controller(&operator, wallet(2).address())
            .await
            .unwrap();
        let squatter =
            ChainRegistrar::new(place.clone(), wallet(2), Some(operator.clone())).unwrap();
        squatter
            .register(&new_device(1, &operator, 3))
            .await
            .unwrap();
        // A revoked device would never come back.
        squatter
            .register(&new_device(2, &operator, 3))
            .await
            .unwrap();
        squatter.revoke_device(&device(2)).await.unwrap();
        squatter.set_scope(&operator, &names, false).await.unwrap();
        squatter.anchor([6; 32], u64::MAX).await.unwrap();
        let anchored = anchors(place, &operator).await.unwrap();
        assert_eq!(heads(&anchored), [(u64::MAX, [6; 32])]);
        let told = reader.scope(&operator, &operator, &names[0]).await.unwrap();
        assert_eq!(told, ALLOWED);

        let own = ChainRegistrar::new(place.clone(), wallet(1), None).unwrap();
        match first_write {
            0 => own.claim().await.unwrap(),
            1 => own.register(&new_device(3, &operator, 3)).await.unwrap(),
            _ => {
                let other = [service("github")];
                own.set_scope(&operator, &other, true).await.unwrap();
            }
        }
        let told = reader.scope(&operator, &operator, &names[0]).await.unwrap();
        assert_eq!(told, Scope::NONE);
        for n in [1, 2] {
            assert_eq!(reader.device(&operator, &device(n)).await.unwrap(), None);
        }
        assert_eq!(anchors(place, &operator).await.unwrap(), []);
        let denied = Err(RegistrarError::NotController(operator.clone()));
        let device = new_device(4, &operator, 1);
        assert_eq!(squatter.register(&device).await, denied);
        assert_eq!(squatter.set_scope(&operator, &names, false).await, denied);
        assert_eq!(squatter.anchor([6; 32], 7).await, denied);
        // What the wallet writes counts, and stays through further writes.
        own.register(&new_device(2, &operator, 3)).await.unwrap();
        own.set_scope(&operator, &names, false).await.unwrap();
        own.anchor([1; 32], 1).await.unwrap();
        let anchored = anchors(place, &operator).await.unwrap();
        assert_eq!(heads(&anchored), [(1, [1; 32])]);
        let told = reader.scope(&operator, &operator, &names[0]).await.unwrap();
        assert_eq!(told, ALLOWED);
        let listed = own.devices().await.unwrap();
        assert_eq!(listed.len(), if first_write == 1 { 2 } else { 1 });
        let again = owner
            .assign_controller(&operator, wallet(0).address())
            .await;
        assert!(
            matches!(again, Err(RegistrarError::Reverted(_))),
            "{again:?}"
        );
    }
}

#[tokio::test]
async fn nobody_stands_in_anothers_way_by_registering_their_device() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let Chain { place, anvil, .. } = of_chain(&lab);
    let operator = lab.operator().clone();
    let squatter = ChainRegistrar::new(place.clone(), wallet(2), None).unwrap();
    let theirs = squatter.operator().clone();
    squatter.register(&new_device(1, &theirs, 3)).await.unwrap();
    squatter.revoke_device(&device(1)).await.unwrap();
    let reader = reader(&lab, &[anvil.endpoint()]);
    assert_eq!(reader.device(&operator, &device(1)).await.unwrap(), None);

    lab.registrar
        .register(&new_device(1, &operator, 3))
        .await
        .unwrap();
    let told = reader.device(&operator, &device(1)).await.unwrap();
    let told = told.map(|device| (device.operator, device.roles.0, device.revoked));
    assert_eq!(told, Some((operator.clone(), 3, false)));
    // Each revokes their own only.
    let unknown = RegistrarError::DeviceUnknown(device(2));
    lab.registrar
        .register(&new_device(2, &operator, 1))
        .await
        .unwrap();
    assert_eq!(squatter.revoke_device(&device(2)).await, Err(unknown));
    // For looking around, the device is whose it was first.
    for (n, whose) in [(1, &theirs), (2, &operator)] {
        assert_eq!(
            &squatter.first_to_register(&device(n)).await.unwrap(),
            &Some(whose.clone())
        );
    }
}

fn heads(anchored: &[Anchor]) -> Vec<(u64, [u8; 32])> {
    let head = |anchor: &Anchor| (anchor.records, anchor.head);
    anchored.iter().map(head).collect()
}

#[tokio::test]
async fn anchors_of_an_audit_only_grow() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let Chain { place, anvil, .. } = of_chain(&lab);
    let operators = ChainRegistrar::new(place.clone(), wallet(1), None).unwrap();
    assert_eq!(anchors(place, lab.operator()).await.unwrap(), []);
    operators.anchor([1; 32], 10).await.unwrap();
    operators.anchor([2; 32], 11).await.unwrap();
    for count in [11, 3, 0] {
        let refused = operators.anchor([3; 32], count).await;
        let words = format!("11 records were anchored before, these are {count}");
        assert_eq!(refused, Err(RegistrarError::Reverted(words)));
    }
    // Somebody else's are theirs.
    let other = ChainRegistrar::new(place.clone(), wallet(2), None).unwrap();
    other.anchor([9; 32], 900).await.unwrap();
    let own = vec![(10, [1; 32]), (11, [2; 32])];
    let anchored = anchors(place, lab.operator()).await.unwrap();
    assert_eq!(heads(&anchored), own);

    // Of two RPCs, one is enough; with none, nothing is said.
    let proxy = Proxy::start(anvil.address()).unwrap();
    let two = |rpc: [String; 2]| ChainPlace {
        rpc: rpc.iter().map(|url| url.parse().unwrap()).collect(),
        ..place.clone()
    };
    let both = two([proxy.endpoint(), anvil.endpoint()]);
    for mode in [Mode::Forward, Mode::Cut] {
        proxy.set_mode(mode);
        let anchored = anchors(&both, lab.operator()).await.unwrap();
        assert_eq!(heads(&anchored), own);
    }
    let dead = two([proxy.endpoint(), proxy.endpoint()]);
    let refused = anchors(&dead, lab.operator()).await;
    assert!(
        matches!(refused, Err(RegistrarError::Chain(_))),
        "{refused:?}"
    );
    let elsewhere = ChainPlace {
        credential_audit: Some(place.scope_contract),
        ..place.clone()
    };
    let refused = anchors(&elsewhere, lab.operator()).await.unwrap_err();
    assert!(matches!(&refused, RegistrarError::Chain(_)), "{refused}");
    let unnamed = ChainPlace {
        credential_audit: None,
        ..place.clone()
    };
    let refused = anchors(&unnamed, lab.operator()).await.unwrap_err();
    let words = "no contract CredentialAudit is configured";
    assert!(refused.to_string().contains(words), "{refused}");
}

#[tokio::test]
async fn a_dead_rpc_fails_closed_and_a_second_one_takes_over() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let anvil = &of_chain(&lab).anvil;
    let proxy = Proxy::start(anvil.address()).unwrap();
    let (first, second) = (proxy.endpoint(), anvil.endpoint());
    let alone = reader(&lab, std::slice::from_ref(&first));
    let both = reader(&lab, &[first, second]);
    for mode in [Mode::Hang, Mode::Cut] {
        proxy.set_mode(Mode::Forward);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(alone.current_epoch().await.unwrap(), 1);
        proxy.set_mode(mode);
        let begun = Instant::now();
        refused(alone.current_epoch().await, &proxy.endpoint());
        assert!(
            begun.elapsed() < Duration::from_millis(2_200),
            "{:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        assert_eq!(both.current_epoch().await.unwrap(), 1);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn an_rpc_that_becomes_another_chain_is_refused() {
    let _ = require!(Tool::Anvil);
    let mut lab = chain().await;
    let Deployment::Chain(chain) = &mut lab.deployment else {
        panic!("a chain");
    };
    let (address, url) = (chain.anvil.address(), chain.anvil.endpoint());
    let lab_reader = ChainRegistry::open(ChainSettings {
        fresh_for: Duration::ZERO,
        ..settings(&chain.place)
    })
    .unwrap();
    assert_eq!(lab_reader.current_epoch().await.unwrap(), 1);
    chain.anvil.kill();
    let _other = Anvil::start_on(address, 1).unwrap();
    let words = format!("the RPC {url} is of chain 1, not 31337");
    refused(lab_reader.current_epoch().await, &words);
    refused(lab_reader.check().await, &words);
    let registrar = ChainRegistrar::new(chain.place.clone(), wallet(1), None).unwrap();
    let refused = registrar
        .register(&new_device(7, registrar.operator(), 1))
        .await;
    assert!(
        matches!(&refused, Err(RegistrarError::Chain(why)) if why.contains(&words)),
        "{refused:?}"
    );
}

/// 12 of 100 requests end in a cut connection, half of them after the server did what was asked.
#[tokio::test]
async fn a_flaky_rpc_gives_right_answers_and_takes_writes_once() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let Chain { anvil, place, .. } = of_chain(&lab);
    let proxy = Proxy::start(anvil.address()).unwrap();
    proxy.set_flaky(12);
    let flaky = reader(&lab, &[proxy.endpoint()]);
    let mut place = place.clone();
    place.rpc = vec![proxy.endpoint().parse().unwrap()];
    let registrar = ChainRegistrar::new(place, wallet(1), None).unwrap();
    let operator = registrar.operator().clone();
    let mut wrong = 0;
    for round in 0..12 {
        let names = [service(&format!("service-{round}"))];
        registrar.set_scope(&operator, &names, false).await.unwrap();
        let told = flaky.scope(&operator, &operator, &names[0]).await.unwrap();
        wrong += u32::from(told != ALLOWED);
        registrar.revoke_scope(&operator, &names).await.unwrap();
        for _ in 0..4 {
            let told = flaky.scope(&operator, &operator, &names[0]).await.unwrap();
            wrong += u32::from(told != Scope::NONE);
        }
    }
    assert_eq!(wrong, 0);
    assert_eq!(registrar.scopes().await.unwrap(), []);
    proxy.set_flaky(100);
    refused(
        flaky.scope(&operator, &operator, &service("a")).await,
        &proxy.endpoint(),
    );
}

proptest! {
    // Each step is a block.
    #![proptest_config(ProptestConfig { cases: 1, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_in_scope_after_it_was_revoked(steps in prop::collection::vec(step(), 25)) {
        if let Err(error) = testkit::tools::find(Tool::Anvil) {
            assert!(!testkit::tools::required(), "{error}");
            testkit::tools::note_skip(&error.to_string());
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { follow(&chain_read(Duration::ZERO).await, steps).await });
    }
}

#[tokio::test]
async fn a_wallet_without_money_is_told_so() {
    let _ = require!(Tool::Anvil);
    let lab = chain().await;
    let key = artifacts_registrar::chain::Wallet::generate().unwrap();
    let poor = artifacts_registrar::chain::Wallet::from_bytes(key.as_slice()).unwrap();
    let address = poor.address().to_string();
    let registrar = ChainRegistrar::new(of_chain(&lab).place.clone(), poor, None).unwrap();
    let operator = registrar.operator().clone();
    let refused = registrar.register(&new_device(1, &operator, 1)).await;
    assert_eq!(refused, Err(RegistrarError::NoFunds(address)));
}
