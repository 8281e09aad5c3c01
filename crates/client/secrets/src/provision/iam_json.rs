//! SeaweedFS's `iam.json`: what it says beside the plan. It cannot be asked what it grants, so
//! the file with which it was started is compared instead.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use vault::isolation::POLICY;

use super::documents::seaweedfs_iam;
use super::grants::same;
use super::report::Report;
use super::target::Target;
use crate::error::{Kind, SecretError};

/// What the file may have beside the plan's parts: how the STS signs its own sessions. Its signing
/// key is never looked at.
const STS: [&str; 4] = ["issuer", "maxSessionLength", "signingKey", "tokenDuration"];

const PARTS: [&str; 5] = ["policies", "policy", "providers", "roles", "sts"];

/// The file, as far as it grants anything. Names that nobody expects are kept as names alone: what
/// stands under them may be secret.
pub struct IamJson {
    parts: Parts,
    others: Vec<String>,
}

#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    sts: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    policy: Value,
    #[serde(default)]
    providers: Vec<Value>,
    #[serde(default)]
    roles: Vec<Value>,
    #[serde(default)]
    policies: Vec<Value>,
}

impl IamJson {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is no such file.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        // Only the place of a fault is told: its words could quote a secret.
        let wrong = |error: serde_json::Error| {
            SecretError::new(
                Kind::Usage,
                format!(
                    "the iam.json is not as SeaweedFS reads it (line {}, column {})",
                    error.line(),
                    error.column()
                ),
                "name the file that weed has been given by -s3.iam.config",
            )
        };
        let names: BTreeMap<String, IgnoredAny> = serde_json::from_slice(text).map_err(wrong)?;
        let parts: Parts = serde_json::from_slice(text).map_err(wrong)?;
        let unknown = |name: &String| !PARTS.contains(&name.as_str());
        let mut others: Vec<String> = names.into_keys().filter(unknown).collect();
        let of_sts = parts.sts.keys();
        let unknown = of_sts.filter(|name| !STS.contains(&name.as_str()));
        others.extend(unknown.map(|name| format!("sts.{name}")));
        Ok(Self { parts, others })
    }
}

/// Looks at everything in the file that could grant more than the plan's parts do.
pub(super) fn look(file: &IamJson, target: &Target, report: &mut Report) {
    let planned = seaweedfs_iam(target);
    let parts = &file.parts;
    let role = target.role.name();
    let name = format!("iam.json has the plan's role {role} and no other");
    report.add(name, alone(&parts.roles, &planned["roles"][0], "roleName"));
    let name = format!("iam.json has the plan's policy {POLICY} and no other");
    let policy = &planned["policies"][0];
    report.add(name, alone(&parts.policies, policy, "name"));
    let provider = &planned["providers"][0];
    report.add(
        "iam.json has the plan's provider and no other",
        alone(&parts.providers, provider, "name"),
    );
    let denies = match same(&parts.policy, &planned["policy"]) {
        true => Ok(()),
        false => Err(format!("its policy is not {}", planned["policy"])),
    };
    report.add("iam.json refuses what is not allowed", denies);
    let none = match file.others.is_empty() {
        true => Ok(()),
        false => Err(format!("it has more: {}", file.others.join(", "))),
    };
    report.add("iam.json has nothing else", none);
}

/// Whether a list is the planned entry and nothing else.
fn alone(there: &[Value], planned: &Value, named: &str) -> Result<(), String> {
    let is_it = |entry: &&Value| entry[named] == planned[named];
    let (ours, others): (Vec<&Value>, Vec<&Value>) = there.iter().partition(is_it);
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|entry| name(entry, named)).collect();
        return Err(format!("it has others beside: {}", names.join(", ")));
    }
    match ours[..] {
        [one] if same(one, planned) => Ok(()),
        [one] => Err(format!(
            "{} is another in: {}",
            name(one, named),
            different(one, planned).join(", ")
        )),
        [] => Err(format!("{} is not there", name(planned, named))),
        _ => Err(format!("{} is there twice", name(planned, named))),
    }
}

fn name(entry: &Value, named: &str) -> String {
    let name = entry[named].as_str().unwrap_or("one without a name");
    name.chars().take(200).collect()
}

/// The members that one has otherwise than the other.
fn different(one: &Value, other: &Value) -> Vec<String> {
    let names = [one, other].into_iter().filter_map(Value::as_object);
    let mut names: Vec<&String> = names.flat_map(|members| members.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&String| !same(&one[name.as_str()], &other[name.as_str()]);
    names.into_iter().filter(differs).cloned().collect()
}
