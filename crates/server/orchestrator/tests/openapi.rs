//! The document of the interface is what the server does. That answers are those of the document
//! every test of this crate asserts, by `common`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeSet;

use axum::http::header;
use common::Lab;
use common::document::document;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

const NO_PATH: &str = "there is no such path";

fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = document().value["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            all.push((path.as_str(), method.as_str(), operation));
        }
    }
    all
}

#[tokio::test]
async fn it_is_served_to_everybody() {
    let lab = Lab::new().await;
    let answer = lab.get("/openapi.json", "").await.ok(200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.json(), document().value);
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_path_and_method_of_it_is_there_and_no_other_method() {
    let lab = Lab::new().await;
    let mut asked = BTreeSet::new();
    for (path, _, _) in operations() {
        // What fits every placeholder; nobody is logged in, so nothing comes of it.
        let filled = path
            .replace("{sender}", "s3")
            .replace("{handle}", "ada")
            .replace("{name}", "cases");
        let filled: Vec<_> = filled
            .split('/')
            .map(|part| match part.starts_with('{') {
                true => "00000000-0000-7000-8000-000000000000",
                false => part,
            })
            .collect();
        let filled = filled.join("/");
        for method in METHODS {
            let is_there = document().value["paths"][path].get(method).is_some();
            let answer = lab
                .call(&method.to_uppercase(), &filled, "", Value::Null)
                .await;
            assert_ne!(
                answer.status == 405,
                is_there,
                "{method} {path}: {answer:?}"
            );
            assert!(!answer.text.contains(NO_PATH), "{method} {path}");
            asked.insert((path, method));
        }
    }
    assert!(asked.len() > 150, "{}", asked.len());
}

/// A route that is added without a word of itself would be none that the test above can see.
#[test]
fn no_endpoint_is_added_without_its_description() {
    let router = include_str!("../src/router.rs");
    assert!(router.contains(".routes(routes!("));
    assert!(!router.contains(".route("));
}

#[test]
fn every_operation_says_what_it_is() {
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations() {
        let at = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{at}"
        );
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{at}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{at}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{at}"
        );
        let is_public = operation["security"] == json!([{}]);
        assert_eq!(responses.contains_key("403"), !is_public, "{at}");
        let placeholders: BTreeSet<&str> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let parameters = operation["parameters"].as_array();
        let parameters = parameters.into_iter().flatten();
        let in_path: BTreeSet<&str> = parameters
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(in_path, placeholders, "{at}");
    }
}

#[test]
fn everything_that_it_points_to_is_there() {
    fn look(value: &Value, pointed: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(place)) = fields.get("$ref") {
                    pointed.insert(place.clone());
                }
                fields.values().for_each(|field| look(field, pointed));
            }
            Value::Array(items) => items.iter().for_each(|item| look(item, pointed)),
            _ => {}
        }
    }
    let mut pointed = BTreeSet::new();
    look(&document().value, &mut pointed);
    assert!(pointed.len() > 40, "{pointed:?}");
    for place in pointed {
        let found = document().value.pointer(place.trim_start_matches('#'));
        assert!(found.is_some(), "{place}");
    }
}

/// Texts at the edges of the rules.
fn texts() -> Vec<String> {
    let short = [
        "",
        "a",
        "A",
        "ab",
        "abc",
        "a-b",
        "a.b",
        "a..b",
        "a.-b",
        "a-.b",
        ".ab",
        "ab.",
        "-ab",
        "ab-",
        "a_b",
        "_ab",
        "a b",
        "a\nb",
        "ab\n",
        "\u{1b}[2J",
        "ä",
        "äöü",
        "a/",
        "/a",
        "a//",
        "a/b/",
        "./",
        "../",
        ".../",
        "..a/",
        "a\n/",
        "a b/",
        "https://a",
        "https://",
        "https:///a",
        "http://a:9/b",
        "https://a?b",
        "https://a#b",
        "https://u:p@a",
        "https://a b",
        "https://ä",
        "ftp://a",
        "ro",
        "WDJB-MJHT",
        "wdjbmjht",
        " wdjb mjht",
        "WDJA-MJHT",
        "WDJB-MJH",
        "WDJB-MJHTX",
        "--------",
        "2026-09-21T14:13:20.123456Z",
        "2026-09-21",
        "0190f5a4-7b1c-7d2e-8f3a-4b5c6d7e8f90",
    ];
    let mut texts: Vec<String> = short.map(str::to_owned).into();
    for length in [30, 62, 63, 64, 65, 255, 256, 512, 513, 1024, 1025] {
        texts.push("a".repeat(length));
        texts.push("0".repeat(length));
        texts.push(format!("{}/", "a".repeat(length - 1)));
        texts.push(format!("https://{}", "a".repeat(length - 8)));
    }
    texts
}

#[track_caller]
fn agrees<T: DeserializeOwned>(name: &str, values: &[Value]) {
    let mut good = 0;
    for value in values {
        let read = serde_json::from_value::<T>(value.clone()).is_ok();
        assert_eq!(
            read,
            document().is_component(name, value),
            "{name}: {value}"
        );
        good += usize::from(read);
    }
    assert!(good > 0 && good < values.len(), "{name}: {good}");
}

#[test]
fn what_it_asks_of_a_value_is_what_is_read() {
    let texts: Vec<Value> = texts().into_iter().map(Value::String).collect();
    agrees::<api::Description>("Description", &texts);
    agrees::<api::BucketName>("BucketName", &texts);
    agrees::<api::Prefix>("Prefix", &texts);
    agrees::<api::Endpoint>("Endpoint", &texts);
    agrees::<api::Region>("Region", &texts);
    agrees::<api::ObjectKey>("ObjectKey", &texts);
    agrees::<api::UserCode>("UserCode", &texts);
    agrees::<api::Mode>("Mode", &texts);
    agrees::<api::WorkspaceId>("WorkspaceId", &texts);
    agrees::<model::Handle>("Handle", &texts);
    agrees::<model::WorkspaceName>("WorkspaceName", &texts);
    agrees::<model::Actor>("Actor", &texts);
    let numbers = [-1, 0, 59, 60, 34_560_000, 34_560_001].map(Value::from);
    agrees::<api::Lifetime>("Lifetime", &numbers);
}
