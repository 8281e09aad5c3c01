//! The document as written, and what of it is refused at load.
//!
//! Everything that would be skipped is refused instead: an unknown element, an unknown
//! effect, a principal (these are identity policies), a policy variable, a statement
//! without action or resource. Only condition operators and keys that we do not know are
//! taken, because a policy made for AWS may carry them; what they mean then is in
//! `condition.rs`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::condition::Condition;

/// A policy document, understood whole.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    pub(super) action: Patterns,
    pub(super) resource: Patterns,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// `Action`/`Resource`, or their `Not…` form.
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
    /// `${…}` is not evaluated here.
    #[error("{0:?} has a policy variable, which this store does not evaluate")]
    Variable(String),
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
    /// Reads a policy document, whole or not at all.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let raw: RawPolicy = serde_json::from_str(json)?;
        match raw.version.as_deref() {
            None | Some("2012-10-17" | "2008-10-17") => {}
            Some(other) => return Err(PolicyError::Version(other.to_owned())),
        }
        let raw = raw.statement.into_vec();
        if raw.is_empty() {
            return Err(PolicyError::Empty);
        }
        let statements = raw
            .into_iter()
            .enumerate()
            .map(Statement::parse)
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
    fn parse((index, raw): (usize, RawStatement)) -> Result<Self, PolicyError> {
        let action = Patterns::parse(
            raw.action,
            raw.not_action,
            PolicyError::OneOf {
                index,
                name: "Action",
            },
        )?;
        let resource = Patterns::parse(
            raw.resource,
            raw.not_resource,
            PolicyError::OneOf {
                index,
                name: "Resource",
            },
        )?;
        action
            .any_of
            .iter()
            .try_for_each(|text| check_action(text))?;
        resource
            .any_of
            .iter()
            .try_for_each(|text| check_resource(text))?;
        let conditions = Condition::parse_all(&raw.condition)?;
        Ok(Self {
            effect: raw.effect,
            action,
            resource,
            conditions,
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
    check_variable(resource)?;
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

/// A variable taken for plain text would grant or refuse something else than was meant.
pub(super) fn check_variable(text: &str) -> Result<(), PolicyError> {
    if text.contains("${") {
        Err(PolicyError::Variable(text.to_owned()))
    } else {
        Ok(())
    }
}
