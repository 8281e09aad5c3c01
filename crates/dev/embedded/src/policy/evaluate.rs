//! The decision.

use std::sync::Arc;

use super::condition::{Context, Verdict};
use super::document::{Effect, Patterns, Policy, Resources, Statement};
use super::pattern;
use super::principal::Principal;
use super::template::Values;

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
    /// Who asks, where that is known.
    pub(crate) principal: Option<Arc<Principal>>,
    /// What a web identity token says, by its condition keys in lower case.
    pub(crate) token: Vec<(String, String)>,
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It grants it.
    Allow,
    /// It refuses it, whatever others say.
    Deny,
    /// It says nothing of it.
    Silent,
}

impl Policy {
    /// Whether the policy grants the request.
    pub(crate) fn allows(&self, request: &Request<'_>) -> bool {
        self.decide(request) == Decision::Allow
    }

    /// What the policy says of the request.
    pub(crate) fn decide(&self, request: &Request<'_>) -> Decision {
        let applying = |effect| {
            self.statements
                .iter()
                .any(move |statement| statement.effect == effect && statement.applies(request))
        };
        if applying(Effect::Deny) {
            Decision::Deny
        } else if applying(Effect::Allow) {
            Decision::Allow
        } else {
            Decision::Silent
        }
    }
}

impl Statement {
    fn applies(&self, request: &Request<'_>) -> bool {
        let refusing = self.effect == Effect::Deny;
        let judged = |verdict| match verdict {
            Verdict::Holds => true,
            Verdict::Fails => false,
            Verdict::Unknown => refusing,
        };
        self.action
            .fit(|wanted| pattern::fits_any_case(wanted, request.action))
            && self
                .principals
                .as_ref()
                .is_none_or(|principals| principals.hold(request.principal.as_deref(), refusing))
            && judged(self.resources.judge(request))
            && self
                .conditions
                .iter()
                .all(|condition| judged(condition.judge(request)))
    }
}

impl Patterns {
    fn fit(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.any_of.iter().any(|wanted| fits(wanted)) != self.negated
    }
}

impl Resources {
    fn judge(&self, request: &Request<'_>) -> Verdict {
        let (mut fit, mut unclear) = (false, false);
        for wanted in &self.any_of {
            match wanted.pattern(request) {
                Some(pattern) => fit |= pattern::fits_glyphs(&pattern, &request.resource),
                None => unclear = true,
            }
        }
        if self.negated && unclear && !fit {
            return Verdict::Unknown;
        }
        match fit != self.negated {
            true => Verdict::Holds,
            false => Verdict::Fails,
        }
    }
}

impl Values for Request<'_> {
    fn of(&self, key: &str) -> Option<&str> {
        self.value(key).flatten()
    }
}

impl Context for Request<'_> {
    fn value(&self, key: &str) -> Option<Option<&str>> {
        let principal = self.principal.as_deref();
        if let Some(tag) = key.strip_prefix("aws:principaltag/") {
            return Some(principal.and_then(|principal| principal.tag(tag)));
        }
        let said = self.token.iter().find(|(name, _)| name == key);
        match key {
            "s3:prefix" => Some(self.prefix.as_deref()),
            "s3:delimiter" => Some(self.delimiter.as_deref()),
            "s3:max-keys" => Some(self.max_keys.as_deref()),
            "aws:username" => Some(principal.and_then(|principal| principal.user.as_deref())),
            "aws:principalarn" => Some(principal.map(|principal| principal.arn.as_str())),
            // This store speaks plain HTTP.
            "aws:securetransport" => Some(Some("false")),
            _ if said.is_some() => said.map(|(_, value)| Some(value.as_str())),
            _ if key.starts_with("aws:requesttag/") => Some(None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PolicyError;
    use super::*;

    fn policy(statements: &str) -> Policy {
        Policy::parse(&format!(
            r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#
        ))
        .unwrap()
    }

    fn tagged(value: Option<&str>, resource: &str) -> Request<'static> {
        let tags = value.map(|value| ("team".to_owned(), value.to_owned()));
        let principal = Principal {
            tags: tags.into_iter().collect(),
            ..Principal::user("ann")
        };
        Request {
            principal: Some(Arc::new(principal)),
            ..ask("s3:GetObject", resource)
        }
    }

    #[test]
    fn variables_stand_for_the_principals_tags_in_resources_and_conditions() {
        let own = policy(
            r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"},
               {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b",
                "Condition":{"StringLike":{"s3:prefix":"${aws:PrincipalTag/team}/*"}}}"#,
        );
        assert!(own.allows(&tagged(Some("red"), "arn:aws:s3:::b/red/k")));
        for (team, key) in [
            (Some("red"), "blue/k"),
            (Some("*"), "blue/k"),
            (Some("?lue"), "blue/k"),
            (Some("red"), "${aws:PrincipalTag/team}/k"),
            (None, "blue/k"),
            (None, "/k"),
        ] {
            let request = tagged(team, &format!("arn:aws:s3:::b/{key}"));
            assert!(!own.allows(&request), "{team:?} {key}");
        }
        let list = |team, prefix: &str| Request {
            prefix: Some(prefix.into()),
            action: "s3:ListBucket",
            ..tagged(team, "arn:aws:s3:::b")
        };
        assert!(own.allows(&list(Some("red"), "red/x")));
        for (team, prefix) in [(Some("red"), "blue/"), (Some("*"), "blue/"), (None, "/")] {
            assert!(!own.allows(&list(team, prefix)), "{team:?} {prefix}");
        }
    }

    #[test]
    fn a_variable_without_value_grants_nothing_and_escapes_no_refusal() {
        let rest = r#""NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*""#;
        let condition = r#""Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalArn":"${aws:PrincipalTag/team}"}}"#;
        for rest in [rest, condition] {
            let allow = policy(&format!(r#"{{"Effect":"Allow","Action":"*",{rest}}}"#));
            let deny = policy(&format!(r#"{ALL},{{"Effect":"Deny","Action":"*",{rest}}}"#));
            let request = |team| tagged(team, "arn:aws:s3:::b/k");
            assert!(allow.allows(&request(Some("red"))), "{rest}");
            assert!(!allow.allows(&request(None)), "{rest}");
            assert!(!deny.allows(&request(None)), "{rest}");
        }
    }

    #[test]
    fn tags_names_and_arns_are_condition_keys() {
        let when = |condition: &str| {
            policy(&format!(
                r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#
            ))
        };
        let red = tagged(Some("red"), "arn:aws:s3:::b/k");
        for (condition, expected) in [
            (r#"{"StringEquals":{"aws:PrincipalTag/Team":"red"}}"#, true),
            (
                r#"{"StringEquals":{"aws:PrincipalTag/team":"blue"}}"#,
                false,
            ),
            (
                r#"{"StringEquals":{"aws:PrincipalTag/other":"red"}}"#,
                false,
            ),
            (r#"{"Null":{"aws:PrincipalTag/other":"true"}}"#, true),
            (r#"{"StringEquals":{"aws:username":"ann"}}"#, true),
            (r#"{"StringLike":{"aws:PrincipalArn":"*:user/ann"}}"#, true),
            (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, false),
            (r#"{"StringLike":{"aws:RequestTag/team":"*"}}"#, false),
        ] {
            assert_eq!(when(condition).allows(&red), expected, "{condition}");
        }
    }

    fn refusal(json: &str) -> PolicyError {
        Policy::parse(json)
            .err()
            .unwrap_or_else(|| panic!("taken: {json}"))
    }

    fn ask<'a>(action: &'a str, resource: &str) -> Request<'a> {
        Request {
            action,
            resource: resource.into(),
            ..Request::default()
        }
    }

    fn listing(prefix: Option<&str>) -> Request<'static> {
        Request {
            prefix: prefix.map(Into::into),
            ..ask("s3:ListBucket", "arn:aws:s3:::b")
        }
    }

    const ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;

    #[test]
    fn nothing_is_allowed_unless_said() {
        let policy =
            policy(r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}"#);
        assert!(policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/k")));
        assert!(policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/x/y:z")));
        assert!(!policy.allows(&ask("s3:PutObject", "arn:aws:s3:::b/k")));
        assert!(!policy.allows(&ask("s3:GetObject", "arn:aws:s3:::bb/k")));
        assert!(!policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b")));
    }

    #[test]
    fn deny_wins_wherever_it_stands() {
        let deny = r#"{"Effect":"Deny","Action":"s3:Delete*","Resource":"arn:aws:s3:::b/keep/*"}"#;
        for policy in [
            policy(&format!("{deny},{ALL}")),
            policy(&format!("{ALL},{deny}")),
        ] {
            assert!(!policy.allows(&ask("s3:DeleteObject", "arn:aws:s3:::b/keep/k")));
            assert!(policy.allows(&ask("s3:DeleteObject", "arn:aws:s3:::b/other/k")));
            assert!(policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/keep/k")));
        }
    }

    #[test]
    fn only_a_deny_allows_nothing() {
        let policy = policy(r#"{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}"#);
        assert!(!policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/k")));
    }

    #[test]
    fn actions_ignore_case_and_resources_do_not() {
        let policy =
            policy(r#"{"Effect":"Allow","Action":"S3:getobject","Resource":"arn:aws:s3:::b/Key"}"#);
        assert!(policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/Key")));
        assert!(!policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/key")));
    }

    #[test]
    fn wildcards_in_odd_places() {
        let grants = |action: &str, resource: &str, request: &Request<'_>| {
            policy(&format!(
                r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#
            ))
            .allows(request)
        };
        let get = ask("s3:GetObject", "arn:aws:s3:::bucket/a/b.txt");
        assert!(grants("s3:*Object", "*", &get));
        assert!(
            grants("s3:?etObject", "arn:aws:s3:::b*/b.txt", &get),
            "a star spans slashes"
        );
        assert!(grants("s3:*", "arn:aws:s3:::*/*.txt", &get));
        assert!(!grants("s3:*", "arn:aws:s3:::bucket/?/", &get));
        assert!(!grants("s3:Get", "*", &get), "no match of a part");
        assert!(!grants("s3:*Objects", "*", &get));
        assert!(!grants("ec2:*", "*", &get));
        // A key's own stars are plain characters of the request.
        assert!(!grants(
            "s3:*",
            "arn:aws:s3:::bucket/secret",
            &ask("s3:GetObject", "arn:aws:s3:::bucket/*")
        ));
    }

    #[test]
    fn the_not_forms_turn_the_match_round() {
        let policy = policy(
            r#"{"Effect":"Allow","NotAction":["s3:Delete*","s3:Put*"],"NotResource":"arn:aws:s3:::b/private/*"}"#,
        );
        assert!(policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/k")));
        assert!(!policy.allows(&ask("s3:PutObject", "arn:aws:s3:::b/k")));
        assert!(!policy.allows(&ask("s3:GetObject", "arn:aws:s3:::b/private/k")));
    }

    #[test]
    fn a_prefix_condition_needs_the_prefix() {
        let policy = policy(
            r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b",
                "Condition":{"StringLike":{"s3:prefix":["home/me/*","home/me"]}}}"#,
        );
        assert!(policy.allows(&listing(Some("home/me/"))));
        assert!(policy.allows(&listing(Some("home/me"))));
        assert!(!policy.allows(&listing(Some("home/"))));
        assert!(!policy.allows(&listing(Some(""))));
        assert!(
            !policy.allows(&listing(None)),
            "an absent key fails a positive operator"
        );
        assert!(
            !policy.allows(&listing(Some("HOME/me/"))),
            "values are compared with their case"
        );
    }

    #[test]
    fn a_negated_condition_holds_for_an_absent_key() {
        let policy = policy(
            r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*",
                "Condition":{"StringNotLike":{"S3:Prefix":["secret/*","hidden/*"]}}}"#,
        );
        assert!(policy.allows(&listing(None)));
        assert!(policy.allows(&listing(Some("open/"))));
        assert!(!policy.allows(&listing(Some("secret/x"))));
        assert!(
            !policy.allows(&listing(Some("hidden/x"))),
            "no value of the list may match"
        );
    }

    #[test]
    fn if_exists_null_and_numbers() {
        let with = |condition: &str| {
            policy(&format!(
                r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#
            ))
        };
        let if_exists = with(r#"{"StringEqualsIfExists":{"s3:prefix":"a/"}}"#);
        assert!(if_exists.allows(&listing(None)) && if_exists.allows(&listing(Some("a/"))));
        assert!(!if_exists.allows(&listing(Some("b/"))));
        let null = with(r#"{"Null":{"s3:prefix":"true"}}"#);
        assert!(null.allows(&listing(None)) && !null.allows(&listing(Some(""))));
        let few = with(r#"{"NumericLessThanEquals":{"s3:max-keys":10}}"#);
        let page = |n: &str| Request {
            max_keys: Some(n.into()),
            ..listing(None)
        };
        assert!(few.allows(&page("10")) && !few.allows(&page("11")));
        assert!(!few.allows(&page("ten")) && !few.allows(&listing(None)));
    }

    #[test]
    fn all_conditions_must_hold() {
        let policy = policy(
            r#"{"Effect":"Allow","Action":"*","Resource":"*",
                "Condition":{"StringEquals":{"s3:prefix":"a/","s3:delimiter":"/"}}}"#,
        );
        assert!(!policy.allows(&listing(Some("a/"))));
        assert!(policy.allows(&Request {
            delimiter: Some("/".into()),
            ..listing(Some("a/"))
        }));
    }

    #[test]
    fn what_cannot_be_judged_never_grants_and_always_denies() {
        let unknown_key = r#""Condition":{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#;
        let unknown_operator =
            r#""Condition":{"DateLessThan":{"s3:prefix":"2030-01-01T00:00:00Z"}}"#;
        for condition in [unknown_key, unknown_operator] {
            let allow = policy(&format!(
                r#"{{"Effect":"Allow","Action":"*","Resource":"*",{condition}}}"#
            ));
            assert!(!allow.allows(&listing(Some("a"))), "{condition}");
            let deny = format!(r#"{{"Effect":"Deny","Action":"*","Resource":"*",{condition}}}"#);
            assert!(
                !policy(&format!("{ALL},{deny}")).allows(&listing(Some("a"))),
                "{condition}"
            );
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_at_load() {
        let one = |rest: &str| format!(r#"{{"Statement":[{{"Effect":"Allow",{rest}}}]}}"#);
        assert!(matches!(refusal("[]"), PolicyError::Shape(_)));
        assert!(matches!(refusal("{}"), PolicyError::Shape(_)));
        assert_eq!(refusal(r#"{"Statement":[]}"#), PolicyError::Empty);
        let future = r#"{"Version":"2030-01-01","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        assert_eq!(refusal(future), PolicyError::Version("2030-01-01".into()));
        for (rest, expected) in [
            (
                r#""Resource":"*""#,
                PolicyError::OneOf {
                    index: 0,
                    name: "Action",
                },
            ),
            (
                r#""Action":"*""#,
                PolicyError::OneOf {
                    index: 0,
                    name: "Resource",
                },
            ),
            (
                r#""NotAction":[],"Resource":"*""#,
                PolicyError::OneOf {
                    index: 0,
                    name: "Action",
                },
            ),
            (
                r#""Action":"*","NotAction":"*","Resource":"*""#,
                PolicyError::OneOf {
                    index: 0,
                    name: "Action",
                },
            ),
            (
                r#""Action":"GetObject","Resource":"*""#,
                PolicyError::Action("GetObject".into()),
            ),
            (
                r#""Action":"*:GetObject","Resource":"*""#,
                PolicyError::Action("*:GetObject".into()),
            ),
            (
                r#""Action":"*","Resource":"bucket/*""#,
                PolicyError::Resource("bucket/*".into()),
            ),
            (
                r#""Action":"*","Resource":"arn:aws:s3::b""#,
                PolicyError::Resource("arn:aws:s3::b".into()),
            ),
            (
                r#""Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*""#,
                PolicyError::Variable("arn:aws:s3:::b/${aws:username}/*".into()),
            ),
        ] {
            assert_eq!(refusal(&one(rest)), expected, "{rest}");
        }
        let about = PolicyError::Principal {
            index: 0,
            reason: "a policy of a key, user or role has no Principal",
        };
        let rest = r#""Action":"*","Resource":"*","Principal":"*""#;
        assert_eq!(refusal(&one(rest)), about);
        for rest in [
            r#""Action":"*","Resource":"*","Conditions":{}"#,
            r#""Action":"*","Resource":"*","Condition":{"StringLike":"s3:prefix"}"#,
            r#""Action":"*","Resource":"*","Condition":{"StringLike":{"s3:prefix":[]}}"#,
            r#""Action":"*","Resource":"*","Condition":{"NumericLessThan":{"s3:max-keys":"ten"}}"#,
        ] {
            assert!(
                matches!(refusal(&one(rest)), PolicyError::Shape(_)),
                "{rest}"
            );
        }
        assert!(matches!(
            refusal(r#"{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#),
            PolicyError::Shape(_)
        ));
    }
}
