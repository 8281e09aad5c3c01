//! What there is at a store, as its administrator lists it, past all who make it there.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use serde_json::Value;

/// Buckets and keys, and what belongs to none of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) buckets: BTreeSet<String>,
    /// Keys of users who have that one key and one policy.
    pub(crate) keys: BTreeSet<String>,
    /// Users with more or less than that, and policies of nobody.
    pub(crate) loose: Vec<String>,
}

/// Lists all.
pub(crate) async fn take(endpoint: &str) -> Inventory {
    let mut found = Inventory::default();
    let buckets = testkit::s3::client(endpoint).list_buckets().send().await;
    let buckets = buckets.unwrap();
    let names = buckets.buckets().iter().filter_map(|bucket| bucket.name());
    found.buckets = names.map(str::to_owned).collect();
    let client = iam(endpoint);
    let mut holders = BTreeMap::<String, usize>::new();
    let policies = client
        .list_policies()
        .max_items(1_000)
        .send()
        .await
        .unwrap();
    assert!(!policies.is_truncated(), "more policies than one list has");
    let arns = policies.policies().iter().filter_map(|policy| policy.arn());
    holders.extend(arns.map(|arn| (arn.to_owned(), 0)));
    let users = client.list_users().max_items(1_000).send().await.unwrap();
    assert!(!users.is_truncated(), "more users than one list has");
    for user in users.users() {
        let name = user.user_name();
        let keys = client.list_access_keys().user_name(name).send().await;
        let keys = keys.unwrap().access_key_metadata;
        let attached = client.list_attached_user_policies().user_name(name);
        let attached = attached.send().await.unwrap().attached_policies;
        let attached = attached.unwrap_or_default();
        for arn in attached.iter().filter_map(|policy| policy.policy_arn()) {
            *holders.entry(arn.to_owned()).or_default() += 1;
        }
        match (keys.as_slice(), attached.len()) {
            ([key], 1) => {
                let id = key.access_key_id().unwrap_or_default();
                found.keys.insert(id.to_owned());
            }
            (keys, policies) => found.loose.push(format!(
                "the user {name} with {} keys and {policies} policies",
                keys.len()
            )),
        }
    }
    for (arn, users) in holders {
        if users != 1 {
            found.loose.push(format!("{arn} of {users} users"));
        }
    }
    found
}

fn iam(endpoint: &str) -> aws_sdk_iam::Client {
    let (id, secret) = (testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let keys = Credentials::new(id, secret, None, None, "test");
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(testkit::REGION))
        .endpoint_url(endpoint)
        .credentials_provider(keys);
    aws_sdk_iam::Client::from_conf(config.build())
}

/// Whether an issued key lists its place; else the store's code of refusal.
pub(crate) async fn open(endpoint: &str, key: &Value) -> Result<(), String> {
    let text = |name: &str| key[name].as_str().unwrap();
    let keys = Credentials::new(text("access_key"), text("secret_key"), None, None, "test");
    let config = testkit::s3::client(endpoint).config().to_builder();
    let client = aws_sdk_s3::Client::from_conf(config.credentials_provider(keys).build());
    let list = client.list_objects_v2().bucket(text("bucket_name"));
    let listed = list.prefix(text("prefix")).send().await;
    listed
        .map(drop)
        .map_err(|error| error.code().unwrap_or("no code").to_owned())
}
