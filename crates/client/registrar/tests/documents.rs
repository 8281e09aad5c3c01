//! Signed documents, written and read.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lab;

use std::sync::Arc;
use std::time::Duration;

use artifacts_registrar::documents::DocumentRegistrar;
use artifacts_registrar::{Registrar, RegistrarError};
use lab::{
    ALLOWED, Deployment, Documents, Lab, documents, follow, new_device, passes_the_suite, service,
    step,
};
use proptest::prelude::*;
use registry::documents::{FRESH_FOR, operator_file};
use registry::{Scope, Unavailable};
use vault::DeviceKey;

fn of_documents(lab: &Lab) -> &Documents {
    match &lab.deployment {
        Deployment::Documents(documents) => documents,
        Deployment::Chain(_) => panic!("documents"),
    }
}

#[tokio::test]
async fn documents_pass_the_suite() {
    passes_the_suite(&documents(FRESH_FOR).await).await;
}

#[tokio::test]
async fn a_permission_that_was_revoked_does_not_come_back_with_the_old_document() {
    let lab = documents(Duration::ZERO).await;
    let (operator, name) = (lab.operator().clone(), service("openrouter"));
    let names = std::slice::from_ref(&name);
    lab.registrar
        .set_scope(&operator, names, false)
        .await
        .unwrap();
    let scope = async || lab.reader.scope(&operator, &operator, &name).await;
    assert_eq!(scope().await.unwrap(), ALLOWED);
    let file = of_documents(&lab).path().join(operator_file(&operator));
    let old = std::fs::read(&file).unwrap();
    lab.registrar.revoke_scope(&operator, names).await.unwrap();
    assert_eq!(scope().await.unwrap(), Scope::NONE);
    std::fs::write(&file, old).unwrap();
    let Unavailable(reason) = scope().await.unwrap_err();
    assert!(
        reason.contains("an older document was put back"),
        "{reason}"
    );
}

#[tokio::test]
async fn what_another_key_has_signed_is_not_built_upon() {
    let lab = documents(Duration::ZERO).await;
    let operator = lab.operator().clone();
    let mine = new_device(1, &operator, 3);
    lab.registrar.register(&mine).await.unwrap();
    let other = Arc::new(DeviceKey::generate().unwrap());
    let folder = of_documents(&lab).path();
    let thief = DocumentRegistrar::new(folder.clone(), operator.clone(), other);
    let refused = thief
        .register(&new_device(2, &operator, 3))
        .await
        .unwrap_err();
    let RegistrarError::File(registry::documents::folder::FolderError { reason, .. }) = refused
    else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("not signed by the key"), "{reason}");
    assert_eq!(lab.registrar.devices().await.unwrap().len(), 1);
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(names.len(), 3, "the epoch, one list, the lock: {names:?}");
}

#[tokio::test]
async fn writers_at_one_time_lose_nothing() {
    let lab = documents(Duration::ZERO).await;
    let operator = lab.operator().clone();
    let all = (1..=20).map(|n| {
        let (registrar, operator) = (Arc::clone(&lab.registrar), operator.clone());
        tokio::spawn(async move { registrar.register(&new_device(n, &operator, 1)).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(lab.registrar.devices().await.unwrap().len(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// After every step, exactly what was set and not revoked since is in scope.
    #[test]
    fn nothing_is_in_scope_after_it_was_revoked(steps in prop::collection::vec(step(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { follow(&documents(Duration::ZERO).await, steps).await });
    }
}
