//! A real SeaweedFS tells of what anybody does in its buckets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use artifacts_orchestrator::token_hash;
use common::Lab;
use common::stream::Told;
use serde_json::json;
use testkit::seaweedfs::{Options, SeaweedFs};
use testkit::tools::Tool;

const TOKEN: &str = "the webhook token of the operator's store";

#[tokio::test]
async fn what_anybody_does_in_a_bucket_is_told() {
    testkit::require!(Tool::Weed);
    let lab = Lab::with(|settings| settings.webhook_token = Some(token_hash(TOKEN))).await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    let made = lab.post("/workspaces", &ada, json!({ "name": "cases" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let info = lab.get("/tenant/mount/info", &ada).await.ok(200);
    let bucket = info.field("bucket_name");
    let mut stream = lab.follow(&workspace, &ada, None).await.unwrap();

    let data = tempfile::tempdir().unwrap();
    let settings = notification(&lab.listen().await);
    std::fs::write(data.path().join("notification.toml"), settings).unwrap();
    let options = Options {
        data: Some(data.path().to_owned()),
        ..Options::default()
    };
    let store = tokio::task::spawn_blocking(|| SeaweedFs::start_with(options).unwrap());
    let store = store.await.unwrap();
    store.create_bucket(&bucket).unwrap();
    let client = testkit::s3::client(&store.endpoint());
    for key in ["elsewhere.txt", "cases/a b/+é.txt"] {
        let put = client.put_object().bucket(&bucket).key(key);
        put.send().await.unwrap();
    }
    assert_eq!(about(&stream.next().await), ("changed", "a b/+é.txt"));
    let delete = client.delete_object().bucket(&bucket);
    delete.key("cases/a b/+é.txt").send().await.unwrap();
    // One word may come twice, and no other.
    loop {
        match stream.next().await {
            told if told.event == "changed" => assert_eq!(about(&told).1, "a b/+é.txt"),
            told => break assert_eq!(about(&told), ("deleted", "a b/+é.txt")),
        }
    }
}

fn notification(url: &str) -> String {
    format!(
        "[notification.webhook]\nenabled = true\nendpoint = \"{url}/webhooks/seaweedfs/all\"\nbearer_token = \"{TOKEN}\"\n"
    )
}

fn about(told: &Told) -> (&str, &str) {
    assert_eq!(told.data["source"], "seaweedfs");
    let key = told.data["objects"][0]["key"].as_str();
    (&told.event, key.unwrap())
}
