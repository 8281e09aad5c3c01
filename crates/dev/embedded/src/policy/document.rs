//! The document as written, and what of it is refused at load.
//!
//! Everything that would be skipped is refused instead: an unknown element, an unknown
//! effect, a principal in a policy of a key, a policy variable that we do not know, a
//! statement without action or resource. Only condition operators and keys that we do not
//! know are taken, because a policy made for AWS may carry them; what they mean then is in
//! `condition.rs`.
//!
//! Three kinds share the form: the policy of a key, user or role has no principal; a
//! bucket's policy has one; a role's trust policy has one and no resource.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::condition::Condition;
use super::principal::Principals;
use super::template::Template;

/// A policy document, understood whole.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    pub(super) action: Patterns,
    pub(super) resources: Resources,
    /// Whom it is about; `None` for whoever has the policy.
    pub(super) principals: Option<Principals>,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// What kind of document it is.
#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    Identity,
    /// Of the bucket of this name.
    Bucket(&'a str),
    Trust,
}

/// `Resource` or `NotResource`.
#[derive(Debug, Clone)]
pub(super) struct Resources {
    pub(super) negated: bool,
    pub(super) any_of: Vec<Template>,
}

/// `Action` or `NotAction`.
#[derive(Debug, Clone)]
pub(super) struct Patterns {
    pub(super) negated: bool,
    pub(super) any_of: Vec<String>,
}

/// Why a policy is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not JSON, or not a policy's JSON.
    #[error("it is not a policy document: {0}")]
    Shape(String),
    /// `Version` is neither 2012-10-17 nor 2008-10-17.
    #[error("version {0:?} is not known\nhint: write \"Version\": \"2012-10-17\"")]
    Version(String),
    /// No statement at all.
    #[error("it has no statement")]
    Empty,
    /// A statement says both `X` and `NotX`, or neither.
    #[error("statement {index} needs exactly one of {name} and Not{name}")]
    OneOf {
        /// Counting from 0.
        index: usize,
        /// `Action` or `Resource`.
        name: &'static str,
    },
    /// An action that is neither `*` nor `service:Name`.
    #[error("{0:?} is not an action\nhint: actions have the form s3:GetObject, s3:Get* or *")]
    Action(String),
    /// A resource that is neither `*` nor an S3 ARN.
    #[error(
        "{0:?} is not a resource\nhint: resources have the form arn:aws:s3:::bucket, arn:aws:s3:::bucket/key or *"
    )]
    Resource(String),
    /// A `${…}` that is not evaluated here.
    #[error(
        "{0:?} has a policy variable that this store does not evaluate\nhint: it knows ${{aws:PrincipalTag/KEY}}, ${{aws:RequestTag/KEY}} and ${{aws:username}}, in documents with \"Version\": \"2012-10-17\""
    )]
    Variable(String),
    /// Whom a statement is about is not said, or not as it is here.
    #[error("statement {index}: {reason}")]
    Principal {
        /// Counting from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A statement of a bucket's policy is about something else than the bucket.
    #[error("{0:?} is not of this bucket\nhint: a bucket's policy has resources of its own bucket")]
    OtherBucket(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(rename = "Version")]
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: Effect,
    #[serde(rename = "Principal")]
    principal: Option<Value>,
    #[serde(rename = "Action")]
    action: Option<OneOrMany<String>>,
    #[serde(rename = "NotAction")]
    not_action: Option<OneOrMany<String>>,
    #[serde(rename = "Resource")]
    resource: Option<OneOrMany<String>>,
    #[serde(rename = "NotResource")]
    not_resource: Option<OneOrMany<String>>,
    #[serde(rename = "Condition", default)]
    condition: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl From<serde_json::Error> for PolicyError {
    fn from(error: serde_json::Error) -> Self {
        Self::Shape(error.to_string())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(all) => all,
            Self::One(one) => vec![one],
        }
    }
}

impl Policy {
    /// Reads the policy of a key, user or role, whole or not at all.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        Self::of_kind(json, Kind::Identity)
    }

    /// Reads the policy of a bucket.
    pub(crate) fn of_bucket(json: &str, bucket: &str) -> Result<Self, PolicyError> {
        Self::of_kind(json, Kind::Bucket(bucket))
    }

    /// Reads a role's trust policy.
    pub(crate) fn of_trust(json: &str) -> Result<Self, PolicyError> {
        Self::of_kind(json, Kind::Trust)
    }

    fn of_kind(json: &str, kind: Kind<'_>) -> Result<Self, PolicyError> {
        let raw: RawPolicy = serde_json::from_str(json)?;
        // Only this version has variables.
        let variables = match raw.version.as_deref() {
            None | Some("2008-10-17") => false,
            Some("2012-10-17") => true,
            Some(other) => return Err(PolicyError::Version(other.to_owned())),
        };
        let raw = raw.statement.into_vec();
        if raw.is_empty() {
            return Err(PolicyError::Empty);
        }
        let statements = raw
            .into_iter()
            .enumerate()
            .map(|(index, raw)| Statement::parse(index, raw, kind, variables))
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }

    /// All of these as one: where a deny stands does not matter. Of none, a policy that
    /// allows nothing.
    pub(crate) fn joined(policies: impl IntoIterator<Item = Self>) -> Self {
        let statements = policies.into_iter().flat_map(|policy| policy.statements);
        Self {
            statements: statements.collect(),
        }
    }
}

impl Statement {
    fn parse(
        index: usize,
        raw: RawStatement,
        kind: Kind<'_>,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let one_of = |name| PolicyError::OneOf { index, name };
        let action = Patterns::parse(raw.action, raw.not_action, one_of("Action"))?;
        action
            .any_of
            .iter()
            .try_for_each(|text| check_action(text))?;
        let resource = match (kind, raw.resource, raw.not_resource) {
            (Kind::Trust, None, None) => Patterns {
                negated: false,
                any_of: vec!["*".to_owned()],
            },
            (Kind::Trust, ..) => return Err(PolicyError::Resource("Resource".into())),
            (_, plain, negated) => Patterns::parse(plain, negated, one_of("Resource"))?,
        };
        for text in &resource.any_of {
            check_resource(text)?;
            if let Kind::Bucket(bucket) = kind {
                check_bucket(text, bucket)?;
            }
        }
        let templates = resource.any_of.iter();
        let templates = templates.map(|text| Template::parse(text, variables));
        let principals = match (kind, raw.principal) {
            (Kind::Identity, None) => Ok(None),
            (Kind::Identity, Some(_)) => Err("a policy of a key, user or role has no Principal"),
            (_, None) => Err("Principal is missing"),
            (Kind::Bucket(_), Some(value)) => Principals::of_bucket(&value).map(Some),
            (Kind::Trust, Some(value)) => Principals::of_trust(&value).map(Some),
        };
        Ok(Self {
            effect: raw.effect,
            action,
            resources: Resources {
                negated: resource.negated,
                any_of: templates.collect::<Result<_, _>>()?,
            },
            principals: principals.map_err(|reason| PolicyError::Principal { index, reason })?,
            conditions: Condition::parse_all(&raw.condition, variables)?,
        })
    }
}

impl Patterns {
    fn parse(
        plain: Option<OneOrMany<String>>,
        negated: Option<OneOrMany<String>>,
        wrong: PolicyError,
    ) -> Result<Self, PolicyError> {
        let patterns = match (plain, negated) {
            (Some(any_of), None) => Self {
                negated: false,
                any_of: any_of.into_vec(),
            },
            (None, Some(any_of)) => Self {
                negated: true,
                any_of: any_of.into_vec(),
            },
            _ => return Err(wrong),
        };
        // An empty list would make "NotAction": [] mean everything.
        if patterns.any_of.is_empty() {
            Err(wrong)
        } else {
            Ok(patterns)
        }
    }
}

fn check_action(action: &str) -> Result<(), PolicyError> {
    let wrong = || PolicyError::Action(action.to_owned());
    if action == "*" {
        return Ok(());
    }
    let (service, name) = action.split_once(':').ok_or_else(wrong)?;
    let letters = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "*?-".contains(c))
    };
    // A wildcard in the service's name is not allowed by IAM either.
    let plain_service = service
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-');
    if plain_service && letters(service) && letters(name) {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn check_resource(resource: &str) -> Result<(), PolicyError> {
    let is_s3 = resource.split(':').count() >= 6
        && resource
            .strip_prefix("arn:")
            .is_some_and(|rest| rest.split(':').nth(1) == Some("s3"));
    if resource == "*" || is_s3 {
        Ok(())
    } else {
        Err(PolicyError::Resource(resource.to_owned()))
    }
}

fn check_bucket(resource: &str, bucket: &str) -> Result<(), PolicyError> {
    let path = resource.strip_prefix("arn:aws:s3:::");
    let rest = path.and_then(|path| path.strip_prefix(bucket));
    match rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        true => Ok(()),
        false => Err(PolicyError::OtherBucket(resource.to_owned())),
    }
}
