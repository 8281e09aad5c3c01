//! A provider in memory that fails when told to: before a call has any effect, or after all
//! of it, as when an answer is lost.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::Mutex;
use provider::{
    BucketInfo, BucketName, Creation, Emptied, Error, Grant, IssuedKey, KeyHandle, Kind, Marker,
    NewKey, Page, Place, Provider, Result, Setting, Settings, Step,
};
use secrecy::SecretString;
use uuid::Uuid;

/// The provider. A key has a policy and a user, as at AWS.
pub struct Fake {
    place: Place,
    state: Mutex<State>,
}

/// How a call fails.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Nothing happens, and this is the answer.
    Before(Error),
    /// It happens, and this is the answer.
    After(Error),
    /// It happens, and there is no answer, ever.
    Silence,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Buckets, and how many objects are in each.
    pub buckets: BTreeMap<String, u64>,
    /// Those whose settings were made.
    pub settled: BTreeSet<String>,
    /// Policies, by name.
    pub policies: BTreeSet<String>,
    /// Users, each with the ids of their keys.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Users that have their policy.
    pub attached: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    content: Content,
    failures: BTreeMap<usize, Failure>,
    calls: Vec<&'static str>,
    secrets: Vec<String>,
    twice: bool,
}

/// How many calls issuing a key takes.
pub const STEPS: usize = 4;

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A provider that does what it is asked.
    pub fn new() -> Self {
        let endpoint = "https://store.example.com".parse();
        Self {
            place: Place {
                endpoint: Some(endpoint.expect("it is an endpoint")),
                region: "auto".into(),
            },
            state: Mutex::default(),
        }
    }

    /// Lets call number `call`, counted from 0 from here on, fail.
    pub fn fail(&self, call: usize, failure: Failure) {
        let mut state = self.state.lock();
        let call = state.calls.len() + call;
        state.failures.insert(call, failure);
    }

    /// Carries every call out twice from here on, as when an answer is lost and somebody asks
    /// again.
    pub fn do_everything_twice(&self) {
        self.state.lock().twice = true;
    }

    /// What there is now.
    pub fn content(&self) -> Content {
        self.state.lock().content.clone()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state.lock().calls.clone()
    }

    /// Every secret that was ever given out, or made and lost.
    pub fn secrets(&self) -> Vec<String> {
        self.state.lock().secrets.clone()
    }

    /// Puts an object into a bucket.
    pub fn put_object(&self, bucket: &api::BucketName) {
        let mut state = self.state.lock();
        *state.content.buckets.entry(bucket.to_string()).or_default() += 1;
    }

    async fn call<T>(
        &self,
        name: &'static str,
        mut work: impl FnMut(&mut State) -> Result<T>,
    ) -> Result<T> {
        let (failure, answer) = {
            let mut state = self.state.lock();
            let number = state.calls.len();
            let failure = state.failures.remove(&number);
            state.calls.push(name);
            if let Some(Failure::Before(error)) = failure {
                return Err(error);
            }
            if state.twice {
                // Like the second, it counts as done.
                let _ = work(&mut state);
            }
            (failure, work(&mut state))
        };
        match failure {
            Some(Failure::After(error)) => Err(error),
            Some(Failure::Silence) => std::future::pending().await,
            _ => answer,
        }
    }
}

#[async_trait]
impl Provider for Fake {
    fn kind(&self) -> Kind {
        Kind::Embedded
    }

    fn place(&self) -> &Place {
        &self.place
    }

    async fn create_bucket(&self, bucket: &BucketName) -> Result<Creation> {
        self.call("create_bucket", |state| {
            let buckets = &mut state.content.buckets;
            let known = buckets.contains_key(bucket.as_str());
            buckets.entry(bucket.to_string()).or_default();
            Ok(match known {
                true => Creation::AlreadyOurs,
                false => Creation::New,
            })
        })
        .await
    }

    async fn settle_bucket(&self, bucket: &BucketName) -> Result<Settings> {
        self.call("settle_bucket", |state| {
            if !state.content.buckets.contains_key(bucket.as_str()) {
                return Err(missing(bucket));
            }
            state.content.settled.insert(bucket.to_string());
            Ok(Settings {
                uploads_expire: Setting::Applied,
                public_access_blocked: Setting::Unsupported,
                cors_off: Setting::Applied,
            })
        })
        .await
    }

    async fn empty_bucket(&self, bucket: &BucketName) -> Result<Emptied> {
        self.call("empty_bucket", |state| {
            let objects = state.content.buckets.get_mut(bucket.as_str());
            let objects = objects.ok_or_else(|| missing(bucket))?;
            let count = usize::try_from(std::mem::take(objects)).unwrap_or(usize::MAX);
            Ok(Emptied {
                objects: count,
                uploads: 0,
                more: false,
            })
        })
        .await
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        self.call("delete_bucket", |state| {
            match state.content.buckets.get(bucket.as_str()) {
                Some(objects) if *objects > 0 => Err(Error::NotEmpty {
                    bucket: bucket.to_string(),
                }),
                None => Err(missing(bucket)),
                Some(_) => {
                    state.content.buckets.remove(bucket.as_str());
                    state.content.settled.remove(bucket.as_str());
                    Ok(())
                }
            }
        })
        .await
    }

    async fn list_buckets(&self, _: Option<&Marker>) -> Result<Page<BucketInfo>> {
        self.call("list_buckets", |state| {
            let names = state.content.buckets.keys().cloned();
            Ok(all(names.map(|name| BucketInfo { name })))
        })
        .await
    }

    fn steps(&self, _: &Grant) -> Result<&'static [Step]> {
        const IN_ORDER: [Step; STEPS] = [
            Step::EnsurePolicy,
            Step::EnsureUser,
            Step::Attach,
            Step::MintKey,
        ];
        Ok(&IN_ORDER)
    }

    async fn take_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>> {
        let name = name_of(grant.credential);
        match step {
            Step::EnsurePolicy => {
                self.call("ensure_policy", |state| {
                    state.content.policies.insert(name.clone());
                    handle.policy_arn = Some(format!("arn:fake:{name}"));
                    Ok(None)
                })
                .await
            }
            Step::EnsureUser => {
                self.call("ensure_user", |state| {
                    state.content.users.entry(name.clone()).or_default();
                    handle.user = Some(name.clone());
                    Ok(None)
                })
                .await
            }
            Step::Attach => {
                self.call("attach", |state| {
                    state.content.attached.insert(name.clone());
                    Ok(None)
                })
                .await
            }
            Step::MintKey => {
                self.call("mint_key", |state| {
                    let key = random_key();
                    let id = key.access_key_id.clone();
                    state.remember(&key);
                    let keys = BTreeSet::from([id.clone()]);
                    state.content.users.insert(name.clone(), keys);
                    handle.access_key_id = Some(id);
                    Ok(Some(key))
                })
                .await
            }
        }
    }

    async fn revoke(&self, handle: &KeyHandle) -> Result<()> {
        self.call("revoke", |state| {
            let name = name_of(handle.credential);
            state.content.users.remove(&name);
            state.content.attached.remove(&name);
            state.content.policies.remove(&name);
            Ok(())
        })
        .await
    }

    async fn list_keys(&self, _: Option<&Marker>) -> Result<Page<IssuedKey>> {
        self.call("list_keys", |state| {
            let users = state.content.users.iter();
            Ok(all(users.filter_map(|(user, keys)| {
                let credential = user.strip_prefix(PREFIX)?.parse().ok()?;
                Some(IssuedKey {
                    handle: KeyHandle {
                        user: Some(user.clone()),
                        ..KeyHandle::new(credential)
                    },
                    access_key_ids: keys.iter().cloned().collect(),
                })
            })))
        })
        .await
    }
}

impl State {
    fn remember(&mut self, key: &NewKey) {
        use secrecy::ExposeSecret;
        let secret = key.secret_access_key.expose_secret();
        self.secrets.push(secret.to_owned());
    }
}

const PREFIX: &str = "artifacts-";

fn name_of(credential: Uuid) -> String {
    format!("{PREFIX}{credential}")
}

fn all<T>(items: impl Iterator<Item = T>) -> Page<T> {
    Page {
        items: items.collect(),
        next: None,
    }
}

fn missing(bucket: &BucketName) -> Error {
    Error::NotFound {
        what: bucket.to_string(),
    }
}

fn random_key() -> NewKey {
    let number = || Uuid::new_v4().simple().to_string();
    NewKey {
        access_key_id: format!("FAKE{}", &number()[..16]),
        secret_access_key: SecretString::from(format!("{}{}", number(), &number()[..8])),
    }
}
