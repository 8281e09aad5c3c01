//! The `Condition` block.
//!
//! All operators of a block and all keys of an operator must hold; of the values of one
//! key, one must (for the negated operators: none may be equal). A key that the request
//! does not have fails the plain operators and passes the negated and `IfExists` ones
//! (IAM User Guide, "IAM JSON policy elements: Condition operators"). A value with a
//! variable that has none is equal to nothing; what a negated operator would make of that
//! is not known.
//!
//! An operator or key that is not known here cannot be judged. Nothing may be granted and
//! nothing may escape a refusal by it, so it never holds in an Allow and always in a Deny.

use serde_json::{Map, Value};

use super::document::PolicyError;
use super::pattern;
use super::template::{Template, Values};

/// One operator on one key.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    operator: Option<Operator>,
    if_exists: bool,
    /// In lower case: keys are compared without regard to case.
    key: String,
    values: Vec<String>,
    /// The values as texts with variables.
    templates: Vec<Template>,
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Text { how: Text, negated: bool },
    Number(Number),
    Bool,
    Null,
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Equals,
    EqualsIgnoreCase,
    Like,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Equals,
    NotEquals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a condition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    Fails,
    /// Not known here.
    Unknown,
}

/// The request's side: the values of the keys that it has.
pub(super) trait Context: Values {
    /// The value of a key (in lower case); the outer `None` for a key not known at all.
    fn value(&self, key: &str) -> Option<Option<&str>>;
}

impl Condition {
    /// Reads a whole block.
    pub(super) fn parse_all(
        block: &Map<String, Value>,
        variables: bool,
    ) -> Result<Vec<Self>, PolicyError> {
        let mut all = Vec::new();
        for (operator, keys) in block {
            let keys = keys
                .as_object()
                .ok_or_else(|| shape("an operator needs an object of keys"))?;
            for (key, values) in keys {
                all.push(Self::parse(operator, key, values, variables)?);
            }
        }
        Ok(all)
    }

    /// Judges the condition for a request.
    pub(super) fn judge(&self, context: &impl Context) -> Verdict {
        let (Some(operator), Some(value)) = (self.operator, context.value(&self.key)) else {
            return Verdict::Unknown;
        };
        let holds = match (operator, value) {
            (Operator::Null, value) => self
                .values
                .iter()
                .any(|wanted| (wanted == "true") == value.is_none()),
            (_, None) if self.if_exists => true,
            (operator, None) => operator.passes_without_key(),
            (Operator::Text { how, negated }, Some(value)) => {
                let (mut equal, mut unclear) = (false, false);
                for wanted in &self.templates {
                    match how.fits(wanted, value, context) {
                        Some(fits) => equal |= fits,
                        None => unclear = true,
                    }
                }
                if negated && unclear && !equal {
                    return Verdict::Unknown;
                }
                equal != negated
            }
            (operator, Some(value)) => operator.holds(&self.values, value),
        };
        if holds {
            Verdict::Holds
        } else {
            Verdict::Fails
        }
    }

    fn parse(
        operator: &str,
        key: &str,
        values: &Value,
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let values = match values {
            Value::Array(values) => values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?,
            value => vec![scalar(value)?],
        };
        if values.is_empty() {
            return Err(shape("a condition needs a value"));
        }
        let templates = values
            .iter()
            .map(|value| Template::parse(value, variables))
            .collect::<Result<_, _>>()?;
        let (name, if_exists) = match operator.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (operator, false),
        };
        let operator = Operator::parse(name);
        if let Some(operator) = operator {
            values.iter().try_for_each(|value| operator.check(value))?;
        }
        Ok(Self {
            operator,
            if_exists,
            key: key.to_ascii_lowercase(),
            values,
            templates,
        })
    }
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let text = |how, negated| Some(Self::Text { how, negated });
        match name {
            "StringEquals" => text(Text::Equals, false),
            "StringNotEquals" => text(Text::Equals, true),
            "StringEqualsIgnoreCase" => text(Text::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => text(Text::EqualsIgnoreCase, true),
            "StringLike" => text(Text::Like, false),
            "StringNotLike" => text(Text::Like, true),
            "NumericEquals" => Some(Self::Number(Number::Equals)),
            "NumericNotEquals" => Some(Self::Number(Number::NotEquals)),
            "NumericLessThan" => Some(Self::Number(Number::Less)),
            "NumericLessThanEquals" => Some(Self::Number(Number::LessOrEqual)),
            "NumericGreaterThan" => Some(Self::Number(Number::Greater)),
            "NumericGreaterThanEquals" => Some(Self::Number(Number::GreaterOrEqual)),
            "Bool" => Some(Self::Bool),
            "Null" => Some(Self::Null),
            _ => None,
        }
    }

    /// Refuses a value that this operator could never compare.
    fn check(self, value: &str) -> Result<(), PolicyError> {
        let good = match self {
            Self::Text { .. } => true,
            Self::Number(_) => value.parse::<i64>().is_ok(),
            Self::Bool | Self::Null => matches!(value, "true" | "false"),
        };
        if good {
            Ok(())
        } else {
            Err(shape("a condition's value does not fit its operator"))
        }
    }

    fn passes_without_key(self) -> bool {
        matches!(
            self,
            Self::Text { negated: true, .. } | Self::Number(Number::NotEquals)
        )
    }

    fn holds(self, values: &[String], found: &str) -> bool {
        match self {
            Self::Number(how) => how.holds(values, found),
            Self::Bool => values
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(found)),
            // Judged before: they look at more than two values.
            Self::Text { .. } | Self::Null => false,
        }
    }
}

impl Text {
    /// `None` where a variable of the wanted text has no value.
    fn fits(self, wanted: &Template, found: &str, values: &impl Values) -> Option<bool> {
        Some(match self {
            Self::Equals => wanted.text(values)? == found,
            Self::EqualsIgnoreCase => wanted.text(values)?.to_lowercase() == found.to_lowercase(),
            Self::Like => pattern::fits_glyphs(&wanted.pattern(values)?, found),
        })
    }
}

impl Number {
    fn holds(self, values: &[String], found: &str) -> bool {
        let Ok(found) = found.parse::<i64>() else {
            return false;
        };
        let mut wanted = values.iter().filter_map(|value| value.parse::<i64>().ok());
        match self {
            Self::Equals => wanted.any(|wanted| found == wanted),
            Self::NotEquals => wanted.all(|wanted| found != wanted),
            Self::Less => wanted.any(|wanted| found < wanted),
            Self::LessOrEqual => wanted.any(|wanted| found <= wanted),
            Self::Greater => wanted.any(|wanted| found > wanted),
            Self::GreaterOrEqual => wanted.any(|wanted| found >= wanted),
        }
    }
}

fn scalar(value: &Value) -> Result<String, PolicyError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(value) => Ok(value.to_string()),
        _ => Err(shape(
            "a condition's value is a text, a number or a truth value",
        )),
    }
}

fn shape(text: &str) -> PolicyError {
    PolicyError::Shape(text.to_owned())
}
