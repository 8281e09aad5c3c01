//! What every store with keys has to do, asked through the port alone.

use artifacts_provider::verify::{Finding, Holder, Surroundings};
use artifacts_provider::{
    Access, Creation, Error, Grant, Issuing, KeyHandle, Provider, Setting, issue,
};
use std::time::Duration;
use uuid::Uuid;

use super::{bucket, grant, reach};

/// What a store is known to lack.
pub(crate) struct Known {
    pub(crate) uploads_expire: Setting,
    pub(crate) public_access_blocked: Setting,
    pub(crate) cors_off: Setting,
}

/// Runs everything.
pub(crate) async fn all(provider: &dyn Provider, known: &Known) {
    buckets_are_made_once_and_deleted_when_empty(provider).await;
    settings_are_what_the_store_knows(provider, known).await;
    keys_open_what_they_should_and_nothing_else(provider).await;
    every_step_may_be_taken_twice(provider).await;
    one_id_is_one_key_however_often_it_is_asked_for(provider).await;
    a_key_whose_secret_was_lost_is_replaced(provider).await;
    revoking_needs_no_more_than_the_id(provider).await;
    a_handle_of_somebody_else_is_refused(provider).await;
}

async fn buckets_are_made_once_and_deleted_when_empty(provider: &dyn Provider) {
    let name = bucket("conformance-buckets");
    assert_eq!(provider.create_bucket(&name).await, Ok(Creation::New));
    assert_eq!(
        provider.create_bucket(&name).await,
        Ok(Creation::AlreadyOurs)
    );
    let listed = provider.list_buckets(None).await.unwrap();
    assert!(listed.items.iter().any(|info| info.name == name.as_str()));

    let keys = grant(1, name.as_str(), None, Access::ReadWrite);
    let (handle, key) = issue(provider, &keys).await.unwrap();
    let holder = Holder::new(&reach(provider), &key, keys.scope);
    right(&holder.wait_alive(Duration::from_secs(5)).await);
    for n in 0..3 {
        right(&holder.put(&format!("deep/{n} é+%&")).await);
    }
    // Leaves an upload behind.
    let around = Surroundings {
        own: "deep/0 é+%&".into(),
        beside: None,
        other_bucket: bucket("conformance-none"),
        other: "x".into(),
    };
    holder.try_everything(&around).await;
    provider.revoke(&handle).await.unwrap();

    let full = Err(Error::NotEmpty {
        bucket: name.to_string(),
    });
    assert_eq!(provider.delete_bucket(&name).await, full);
    let (mut objects, mut uploads) = (0, 0);
    loop {
        let page = provider.empty_bucket(&name).await.unwrap();
        objects += page.objects;
        uploads += page.uploads;
        if !page.more {
            break;
        }
    }
    assert!(objects >= 3, "{objects}");
    assert_eq!(uploads, 1);
    provider.delete_bucket(&name).await.unwrap();
    let gone = provider.delete_bucket(&name).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    let gone = provider.empty_bucket(&name).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

async fn settings_are_what_the_store_knows(provider: &dyn Provider, known: &Known) {
    let name = bucket("conformance-settings");
    provider.create_bucket(&name).await.unwrap();
    for _ in 0..2 {
        let settings = provider.settle_bucket(&name).await.unwrap();
        assert_eq!(settings.uploads_expire, known.uploads_expire);
        assert_eq!(settings.public_access_blocked, known.public_access_blocked);
        assert_eq!(settings.cors_off, known.cors_off);
    }
    provider.delete_bucket(&name).await.unwrap();
}

async fn keys_open_what_they_should_and_nothing_else(provider: &dyn Provider) {
    let (mine, other) = (bucket("conformance-mine"), bucket("conformance-other"));
    for name in [&mine, &other] {
        provider.create_bucket(name).await.unwrap();
    }
    let grants = [
        grant(10, mine.as_str(), None, Access::ReadWrite),
        grant(11, mine.as_str(), None, Access::ReadOnly),
        grant(12, mine.as_str(), Some("part/"), Access::ReadWrite),
        grant(13, mine.as_str(), Some("part/"), Access::ReadOnly),
        grant(14, other.as_str(), None, Access::ReadWrite),
    ];
    let mut issued = Vec::new();
    for grant in &grants {
        let (handle, key) = issue(provider, grant).await.unwrap();
        let holder = Holder::new(&reach(provider), &key, grant.scope.clone());
        right(&holder.wait_alive(Duration::from_secs(5)).await);
        issued.push((handle, holder));
    }
    right(&issued[0].1.put("own").await);
    right(&issued[0].1.put("part/own").await);
    right(&issued[4].1.put("other").await);
    for (grant, (_, holder)) in grants.iter().zip(&issued).take(4).rev() {
        let own = match grant.scope.prefix {
            Some(_) => "part/own",
            None => "own",
        };
        let around = Surroundings {
            own: own.into(),
            beside: Some("own".into()),
            other_bucket: other.clone(),
            other: "other".into(),
        };
        for finding in holder.try_everything(&around).await {
            assert!(finding.is_right(), "{:?}: {finding:?}", grant.scope);
        }
    }
    let listed = all_issued(provider).await;
    for (handle, _) in &issued {
        let found = listed
            .iter()
            .find(|key| key.handle.credential == handle.credential);
        let ids = &found.expect("it is listed").access_key_ids;
        assert_eq!(
            ids.iter().collect::<Vec<_>>(),
            handle.access_key_id.iter().collect::<Vec<_>>()
        );
    }
    for (handle, holder) in &issued {
        provider.revoke(handle).await.unwrap();
        right(&holder.wait_dead(Duration::from_secs(5)).await);
        provider.revoke(handle).await.unwrap();
    }
    nothing_is_left(provider).await;
    for name in [&mine, &other] {
        while provider.empty_bucket(name).await.unwrap().more {}
        provider.delete_bucket(name).await.unwrap();
    }
}

async fn every_step_may_be_taken_twice(provider: &dyn Provider) {
    let grant = grant(20, "conformance-twice", None, Access::ReadWrite);
    let mut handle = KeyHandle::new(grant.credential);
    for &step in provider.steps(&grant).unwrap() {
        provider.take_step(step, &grant, &mut handle).await.unwrap();
        let first = handle.clone();
        provider.take_step(step, &grant, &mut handle).await.unwrap();
        let again = KeyHandle {
            access_key_id: first.access_key_id.clone(),
            ..handle.clone()
        };
        assert_eq!(again, first, "{step:?} made something else");
    }
    let listed = all_issued(provider).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let live: Vec<_> = handle.access_key_id.iter().cloned().collect();
    assert_eq!(listed[0].access_key_ids, live);
    provider.revoke(&handle).await.unwrap();
    nothing_is_left(provider).await;
}

async fn one_id_is_one_key_however_often_it_is_asked_for(provider: &dyn Provider) {
    let grant = grant(25, "conformance-again", None, Access::ReadOnly);
    let (mut last, mut seen) = (None, Vec::new());
    for _ in 0..3 {
        let (handle, key) = issue(provider, &grant).await.unwrap();
        assert_eq!(handle.access_key_id.as_ref(), Some(&key.access_key_id));
        assert!(!seen.contains(&key.access_key_id), "a new secret, a new id");
        seen.push(key.access_key_id);
        last = Some(handle);
    }
    let listed = all_issued(provider).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].access_key_ids, seen[2..]);
    let last = last.unwrap();
    for _ in 0..2 {
        provider.revoke(&last).await.unwrap();
        nothing_is_left(provider).await;
    }
}

async fn a_key_whose_secret_was_lost_is_replaced(provider: &dyn Provider) {
    let name = bucket("conformance-lost");
    provider.create_bucket(&name).await.unwrap();
    let grant = grant(30, name.as_str(), None, Access::ReadOnly);
    let (handle, lost) = issue(provider, &grant).await.unwrap();
    let lost = Holder::new(&reach(provider), &lost, grant.scope.clone());
    right(&lost.wait_alive(Duration::from_secs(5)).await);
    let mut issuing = Issuing::begin(provider, &grant, Some(handle)).unwrap();
    while issuing.next_step().is_some() {
        issuing.advance().await.unwrap();
    }
    let (handle, key) = issuing.finish();
    let key = Holder::new(&reach(provider), &key.unwrap(), grant.scope.clone());
    right(&key.wait_alive(Duration::from_secs(5)).await);
    right(&lost.wait_dead(Duration::from_secs(5)).await);
    provider.revoke(&handle).await.unwrap();
    provider.delete_bucket(&name).await.unwrap();
}

async fn revoking_needs_no_more_than_the_id(provider: &dyn Provider) {
    let grant = grant(40, "conformance-id", Some("p/"), Access::ReadOnly);
    let (handle, _) = issue(provider, &grant).await.unwrap();
    let bare = KeyHandle::new(handle.credential);
    provider.revoke(&bare).await.unwrap();
    nothing_is_left(provider).await;
    // The policy is gone as well: a new one of this name is made, not found.
    let mut handle = bare;
    provider
        .revoke(&KeyHandle::new(Uuid::from_u128(41)))
        .await
        .unwrap();
    let steps = provider.steps(&grant).unwrap();
    provider
        .take_step(steps[0], &grant, &mut handle)
        .await
        .unwrap();
    provider.revoke(&handle).await.unwrap();
}

async fn a_handle_of_somebody_else_is_refused(provider: &dyn Provider) {
    let (mine, theirs) = (
        grant(50, "conformance-mine", None, Access::ReadOnly),
        grant(51, "conformance-other", None, Access::ReadOnly),
    );
    let (handle, _) = issue(provider, &theirs).await.unwrap();
    let mixed = KeyHandle {
        credential: mine.credential,
        ..handle.clone()
    };
    let refused = provider.revoke(&mixed).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    let other = Issuing::begin(provider, &mine, Some(handle.clone()));
    assert!(matches!(other, Err(Error::Invalid { .. })));
    let listed = all_issued(provider).await;
    assert_eq!(listed.len(), 1, "theirs is there");
    provider.revoke(&handle).await.unwrap();
    nothing_is_left(provider).await;
}

/// Whether every page is empty.
pub(crate) async fn nothing_is_left(provider: &dyn Provider) {
    let left = all_issued(provider).await;
    assert!(left.is_empty(), "{left:?}");
}

pub(crate) async fn all_issued(provider: &dyn Provider) -> Vec<artifacts_provider::IssuedKey> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = provider.list_keys(from.as_ref()).await.unwrap();
        all.extend(page.items);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

pub(crate) fn right(finding: &Finding) {
    assert!(finding.is_right(), "{finding:?}");
}

/// For tests that only need one.
pub(crate) fn any_grant(credential: u128) -> Grant {
    grant(credential, "conformance-any", None, Access::ReadWrite)
}
