//! Rules that were given on the command line, and are remembered with the pair.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One `--exclude` or `--include`, as the line that a file of rules would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(String);

impl Filter {
    /// Leaves out what the pattern names.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn exclude(pattern: &str) -> Result<Self, String> {
        check(pattern, "--include")?;
        // A mark that begins a comment in a file is part of a name here.
        let start = if pattern.starts_with('#') { "\\" } else { "" };
        Ok(Self(format!("{start}{}", with_its_end(pattern))))
    }

    /// Takes in again what the pattern names.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn include(pattern: &str) -> Result<Self, String> {
        check(pattern, "--exclude")?;
        Ok(Self(format!("!{}", with_its_end(pattern))))
    }

    /// The line.
    pub fn line(&self) -> &str {
        &self.0
    }
}

/// Spaces at the end, which a file has by mistake, were meant here.
fn with_its_end(pattern: &str) -> String {
    let kept = pattern.trim_end_matches(' ');
    let marks = kept.bytes().rev().take_while(|byte| *byte == b'\\').count();
    let spaces = pattern.len() - kept.len();
    // The first of them may have its mark already.
    let marked = spaces.min(marks % 2);
    let rest = "\\ ".repeat(spaces - marked);
    format!("{kept}{}{rest}", " ".repeat(marked))
}

fn check(pattern: &str, opposite: &str) -> Result<(), String> {
    if pattern.starts_with('!') {
        return Err(format!(
            "{pattern:?} begins with !: say it with {opposite}, or write \\! for the character"
        ));
    }
    if pattern.contains(['\n', '\r', '\0']) {
        return Err(format!("{pattern:?} is more than one line"));
    }
    let mut builder = ignore::gitignore::GitignoreBuilder::new("/");
    let added = builder.add_line(None, &format!("!{}", with_its_end(pattern)));
    added.map_err(|error| format!("{pattern:?} is no pattern: {error}"))?;
    let names_something = builder.build().is_ok_and(|built| built.len() == 1);
    names_something
        .then_some(())
        .ok_or_else(|| format!("{pattern:?} names nothing"))
}

/// As it was given.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.strip_prefix('!') {
            Some(pattern) => write!(f, "--include {pattern}"),
            None => write!(
                f,
                "--exclude {}",
                self.0
                    .strip_prefix("\\#")
                    .map_or_else(|| self.0.clone(), |rest| format!("#{rest}"),)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["", "/", "!a", "a\nb", "[z-a]"] {
            assert!(Filter::exclude(pattern).is_err(), "{pattern:?}");
        }
        for pattern in ["a", "#a", "\\!a", "/a/", "**/x", "a b"] {
            let filter = Filter::exclude(pattern).unwrap();
            assert_eq!(filter.to_string(), format!("--exclude {pattern}"));
        }
        for (given, line) in [
            ("a  ", "a\\ \\ "),
            ("a\\  ", "a\\ \\ "),
            ("a\\\\ ", "a\\\\\\ "),
        ] {
            assert_eq!(Filter::exclude(given).unwrap().line(), line);
        }
        assert_eq!(Filter::include("*.md").unwrap().line(), "!*.md");
    }
}
