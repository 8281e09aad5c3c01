//! The decision.

use super::condition::{Context, Verdict};
use super::document::{Effect, Patterns, Policy, Statement};
use super::pattern;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    /// Such as `s3:GetObject`.
    pub(crate) action: &'a str,
    /// Such as `arn:aws:s3:::bucket/key`.
    pub(crate) resource: String,
    /// `s3:prefix`, of a listing that has one.
    pub(crate) prefix: Option<String>,
    /// `s3:delimiter`.
    pub(crate) delimiter: Option<String>,
    /// `s3:max-keys`.
    pub(crate) max_keys: Option<String>,
}

impl Policy {
    /// Whether the policy grants the request.
    pub(crate) fn allows(&self, request: &Request<'_>) -> bool {
        let applying = |effect| {
            self.statements.iter().any(move |statement| statement.effect == effect && statement.applies(request))
        };
        !applying(Effect::Deny) && applying(Effect::Allow)
    }
}

impl Statement {
    fn applies(&self, request: &Request<'_>) -> bool {
        self.action.fit(|wanted| pattern::fits_any_case(wanted, request.action))
            && self.resource.fit(|wanted| pattern::fits(wanted, &request.resource))
            && self.conditions.iter().all(|condition| match condition.judge(request) {
                Verdict::Holds => true,
                Verdict::Fails => false,
                Verdict::Unknown => self.effect == Effect::Deny,
            })
    }
}

impl Patterns {
    fn fit(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.any_of.iter().any(|wanted| fits(wanted)) != self.negated
    }
}

impl Context for Request<'_> {
    fn value(&self, key: &str) -> Option<Option<&str>> {
        match key {
            "s3:prefix" => Some(self.prefix.as_deref()),
            "s3:delimiter" => Some(self.delimiter.as_deref()),
            "s3:max-keys" => Some(self.max_keys.as_deref()),
            _ => None,
        }
    }
}
