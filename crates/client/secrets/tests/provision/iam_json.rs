//! What the comparison of SeaweedFS's file finds, without a store.

use artifacts_secrets::provision::{IamJson, Plan, Seen, Step, StoreKind, verify};
use serde_json::{Value, json};

use super::tokens::{Broker, Tokens, ada, target};

/// Something that the file should not have.
type Change = fn(&mut Value);

/// A store that is away: only what the file says is looked at here.
async fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let broker = Broker::start();
    let target = target(StoreKind::SeaweedFs, "http://127.0.0.1:9", &broker.issuer);
    let plan = Plan::of(&target);
    let is_file = |step: &&Step| matches!(step, Step::IamJson { .. });
    let file = plan.steps.iter().find(is_file).unwrap().document();
    let mut file = file.unwrap().clone();
    file["sts"] = json!({"signingKey": "c2VjcmV0", "issuer": "seaweedfs-sts"});
    change(&mut file);
    let file = IamJson::parse(file.to_string().as_bytes()).unwrap();
    let tokens = Tokens {
        broker: &broker,
        actor: ada(),
    };
    let report = verify(&target, &tokens, Seen::Read(&file)).await.unwrap();
    let of_file = report
        .failures()
        .filter(|check| check.name.starts_with("iam.json"));
    of_file.map(|check| check.reason.clone().unwrap()).collect()
}

fn push(list: &mut Value, entry: Value) {
    list.as_array_mut().unwrap().push(entry);
}

#[tokio::test]
async fn each_thing_beside_or_otherwise_is_named() {
    assert_eq!(found(|_| {}).await, Vec::<String>::new());
    let changes: [(&str, Change); 10] = [
        ("it has others beside: x", |file| {
            push(&mut file["roles"], json!({"roleName": "x"}))
        }),
        ("artifacts-vault is there twice", |file| {
            let role = file["roles"][0].clone();
            push(&mut file["roles"], role);
        }),
        ("artifacts-vault is not there", |file| {
            file["roles"] = json!([])
        }),
        ("artifacts-vault is another in: trustPolicy", |file| {
            file["roles"][0]["trustPolicy"]["Statement"][0]["Condition"] = json!({});
        }),
        (
            "artifacts-vault is another in: maxSessionDuration",
            |file| {
                file["roles"][0]["maxSessionDuration"] = json!(1);
            },
        ),
        (
            "artifacts-vault-own-prefix is another in: document",
            |file| {
                file["policies"][0]["document"]["Statement"][1]["Resource"] = json!("*");
            },
        ),
        ("it has others beside: one without a name", |file| {
            push(&mut file["providers"], json!({"type": "ldap"}));
        }),
        ("its policy is not", |file| {
            file["policy"]["defaultEffect"] = json!("Allow")
        }),
        ("it has more: identities", |file| {
            file["identities"] = json!([{"name": "root"}])
        }),
        ("it has more: sts.providers", |file| {
            file["sts"]["providers"] = json!([])
        }),
    ];
    for (said, change) in changes {
        let found = found(change).await;
        assert_eq!(found.len(), 1, "{said}: {found:#?}");
        assert!(found[0].starts_with(said), "{said}: {found:#?}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_without_its_words() {
    for text in ["", "[]", "{\"roles\": \"geheim\"}", "geheim"] {
        let refused = IamJson::parse(text.as_bytes()).err().unwrap();
        assert!(
            refused.message.contains("not as SeaweedFS reads it"),
            "{text}"
        );
        assert!(!refused.message.contains("geheim"), "{refused}");
    }
}
