//! Texts of a policy that may have variables: `${aws:PrincipalTag/team}` stands for what the
//! request's principal has there (IAM User Guide, "IAM policy elements: Variables and tags").
//!
//! A value is put in as plain characters: a tag of `*` or `?` is a star or a question mark
//! and no wildcard, and a `${` in it begins nothing. Some stores take it for a wildcard; a
//! policy that isolates tags from each other must not hang on that. A variable without a
//! value fits nothing at all.

use super::document::PolicyError;
use super::pattern::{Glyph, glyphs};

/// A text, read.
#[derive(Debug, Clone)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// As written; in a pattern, its wildcards count.
    Text(String),
    /// `${*}`, `${?}` and `${$}`: the character itself.
    Plain(char),
    /// A condition key, in lower case.
    Variable(String),
}

/// What variables stand for: the request's side.
pub(super) trait Values {
    /// The value of a key (in lower case), if the request has it.
    fn of(&self, key: &str) -> Option<&str>;
}

impl Template {
    /// Reads a text. `variables` is whether the document's version knows them: in an older
    /// one they are plain text to IAM, which is never what their author meant, so they are
    /// refused there.
    pub(super) fn parse(text: &str, variables: bool) -> Result<Self, PolicyError> {
        let wrong = || PolicyError::Variable(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(wrong)?;
            let part = Part::of(name).filter(|_| variables).ok_or_else(wrong)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// The text with its variables' values; `None` where one has no value.
    pub(super) fn text(&self, values: &impl Values) -> Option<String> {
        let mut whole = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Plain(c) => whole.push(*c),
                Part::Variable(key) => whole.push_str(values.of(key)?),
            }
        }
        Some(whole)
    }

    /// The pattern with its variables' values; `None` where one has no value.
    pub(super) fn pattern(&self, values: &impl Values) -> Option<Vec<Glyph>> {
        let mut whole = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.extend(glyphs(text)),
                Part::Plain(c) => whole.push(Glyph::Exactly(*c)),
                Part::Variable(key) => {
                    whole.extend(values.of(key)?.chars().map(Glyph::Exactly));
                }
            }
        }
        Some(whole)
    }
}

impl Part {
    /// What stands between `${` and `}`, where this store knows it.
    fn of(name: &str) -> Option<Self> {
        match name {
            "*" | "?" | "$" => name.chars().next().map(Self::Plain),
            _ => {
                let key = name.to_ascii_lowercase();
                let tag = |kind| key.strip_prefix(kind).is_some_and(is_tag_key);
                let known =
                    key == "aws:username" || tag("aws:principaltag/") || tag("aws:requesttag/");
                known.then_some(Self::Variable(key))
            }
        }
    }
}

/// Letters, digits and what AWS allows beside them in the key of a tag, but for spaces.
fn is_tag_key(text: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || "_.:/=+-@".contains(c);
    !text.is_empty() && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::super::pattern::fits_glyphs;
    use super::*;

    struct Team(Option<&'static str>);

    impl Values for Team {
        fn of(&self, key: &str) -> Option<&str> {
            self.0.filter(|_| key == "aws:principaltag/team")
        }
    }

    fn fits(pattern: &str, team: Option<&'static str>, text: &str) -> bool {
        let template = Template::parse(pattern, true).unwrap();
        let pattern = template.pattern(&Team(team));
        pattern.is_some_and(|pattern| fits_glyphs(&pattern, text))
    }

    #[test]
    fn a_value_takes_its_variables_place_and_is_never_a_wildcard() {
        let home = "b/${aws:PrincipalTag/team}/*";
        for (team, text, expected) in [
            (Some("red"), "b/red/k", true),
            (Some("red"), "b/reds/k", false),
            (Some("red"), "b/Red/k", false),
            (Some("*"), "b/red/k", false),
            (Some("*"), "b/*/k", true),
            (Some("r?d"), "b/red/k", false),
            (Some("${aws:username}"), "b/${aws:username}/k", true),
            (Some(""), "b//k", true),
            (None, "b//k", false),
            (None, "b/red/k", false),
            (None, "b/${aws:PrincipalTag/team}/k", false),
        ] {
            assert_eq!(fits(home, team, text), expected, "{team:?} {text}");
        }
        assert!(fits("b/${*}${?}${$}", None, "b/*?$"));
        assert!(!fits("b/${*}", None, "b/x"));
        assert!(fits("b/${AWS:principaltag/TEAM}", Some("red"), "b/red"));
    }

    #[test]
    fn what_is_no_variable_of_ours_is_refused() {
        for text in [
            "${",
            "b/${aws:PrincipalTag/team",
            "${}",
            "${aws:PrincipalTag/}",
            "${aws:PrincipalTag/a b}",
            "${aws:CurrentTime}",
            "${aws:PrincipalTag/team, 'all'}",
        ] {
            let refused = Template::parse(text, true).err();
            assert_eq!(refused, Some(PolicyError::Variable(text.into())), "{text}");
        }
        assert!(Template::parse("${aws:username}", false).is_err());
    }
}
