//! Session tags of a web identity token.
//!
//! As AWS has them (IAM User Guide, "Pass session tags in AWS STS"), in one claim:
//!
//! ```json
//! "https://aws.amazon.com/tags": {
//!   "principal_tags": { "team": ["red"] },
//!   "transitive_tag_keys": ["team"]
//! }
//! ```
//!
//! SeaweedFS reads them from a claim `https://aws.amazon.com/tags/principal_tags` instead. A
//! token may have either, or both where they say the same. What the characters of a key and
//! a value may be is AWS's rule; it has neither `*` nor `?` nor `$` in it, so a tag that
//! would be a wildcard or a variable elsewhere is refused here with its token.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// The value of each key; keys in lower case, for they are compared so.
pub(super) type Tags = BTreeMap<String, String>;

/// What AWS takes of each ("IAM and AWS STS quotas").
const MOST: usize = 50;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    principal_tags: Principal,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
}

/// Keys with one value each, in the order that they are written in.
pub(super) struct Principal(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Principal {
    /// Keeps what a map would let fall: a key that is there twice.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Principal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of keys with lists of values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Principal, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Principal(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The tags of a token with these claims, or what is wrong with them.
pub(super) fn of(claim: Option<Claim>, flat: Option<Principal>) -> Result<Tags, &'static str> {
    let flat = flat.map(checked).transpose()?;
    let Some(claim) = claim else {
        return Ok(flat.unwrap_or_default());
    };
    let tags = checked(claim.principal_tags)?;
    let transitive = &claim.transitive_tag_keys;
    if !transitive
        .iter()
        .all(|key| tags.contains_key(&key.to_lowercase()))
    {
        return Err("a transitive tag key is no key of its tags");
    }
    match flat {
        Some(flat) if flat != tags => Err("its two claims of session tags do not agree"),
        _ => Ok(tags),
    }
}

fn checked(principal: Principal) -> Result<Tags, &'static str> {
    let mut tags = Tags::new();
    for (key, values) in principal.0 {
        let [value] = &values[..] else {
            return Err("a session tag has not exactly one value");
        };
        let fits = |text: &str, longest| text.chars().count() <= longest && text.chars().all(good);
        if key.is_empty() || !fits(&key, LONGEST_KEY) || !fits(value, LONGEST_VALUE) {
            return Err("a session tag has characters that no tag may have, or too many");
        }
        if tags.insert(key.to_lowercase(), value.clone()).is_some() {
            return Err("a session tag is given twice");
        }
    }
    match tags.len() > MOST {
        true => Err("it has too many session tags"),
        false => Ok(tags),
    }
}

/// Letters, digits, spaces and a few signs (API reference of STS, `Tag`).
fn good(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(nested: Option<&str>, flat: Option<&str>) -> Result<Vec<(String, String)>, String> {
        let claim = nested.map(|text| {
            let text = format!(r#"{{"principal_tags":{text},"transitive_tag_keys":["team"]}}"#);
            serde_json::from_str(&text).unwrap()
        });
        let flat = flat.map(|text| serde_json::from_str(text).unwrap());
        let tags = of(claim, flat).map_err(str::to_owned)?;
        Ok(tags.into_iter().collect())
    }

    #[test]
    fn either_claim_counts_and_both_where_they_agree() {
        let red = r#"{"Team":["red"]}"#;
        let tags = Ok(vec![("team".to_owned(), "red".to_owned())]);
        assert_eq!(read(Some(red), None), tags);
        assert_eq!(read(None, Some(red)), tags);
        assert_eq!(read(Some(red), Some(red)), tags);
        assert_eq!(read(None, None), Ok(vec![]));
        let other = read(Some(red), Some(r#"{"team":["blue"]}"#));
        assert!(other.unwrap_err().contains("do not agree"));
        let more = read(Some(red), Some(r#"{"team":["red"],"x":["y"]}"#));
        assert!(more.unwrap_err().contains("do not agree"));
    }

    #[test]
    fn wildcards_variables_and_doubles_are_refused() {
        for (tags, why) in [
            (r#"{"team":["*"]}"#, "characters"),
            (r#"{"team":["re?"]}"#, "characters"),
            (r#"{"team":["${aws:username}"]}"#, "characters"),
            (r#"{"te*m":["red"]}"#, "characters"),
            (r#"{"team":["a","b"]}"#, "exactly one"),
            (r#"{"team":[]}"#, "exactly one"),
            (r#"{"team":["red"],"team":["blue"]}"#, "twice"),
            (r#"{"team":["red"],"TEAM":["blue"]}"#, "twice"),
        ] {
            let refused = read(None, Some(tags)).unwrap_err();
            assert!(refused.contains(why), "{tags}: {refused}");
        }
        let absent = read(Some(r#"{"other":["red"]}"#), None).unwrap_err();
        assert!(absent.contains("transitive"), "{absent}");
    }
}
