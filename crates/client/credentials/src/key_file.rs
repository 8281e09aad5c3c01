//! The format of `byo-credentials`.
//!
//! Lines `NAME=VALUE` with the names of [`Field`]; those before any section are the default
//! profile's, those after a line `[profile NAME]` are that profile's. White space around
//! names and values does not count. Every other line (comments, unknown names, other
//! sections) means nothing to us and is kept as it is when the file is rewritten.

use std::ops::Range;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Error, FieldValue, KeyProfile, Result};

/// A field of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// The access key id.
    AccessKeyId,
    /// The secret access key.
    SecretAccessKey,
    /// The session token that temporary keys come with.
    SessionToken,
    /// The region that requests are signed for.
    Region,
}

impl Field {
    /// All fields, in the order in which they are written.
    pub const ALL: [Self; 4] = [
        Self::AccessKeyId,
        Self::SecretAccessKey,
        Self::SessionToken,
        Self::Region,
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        &self.variable()["ARTIFACTS_S3_".len()..]
    }

    /// The environment variable that overrides it.
    pub fn variable(self) -> &'static str {
        match self {
            Self::AccessKeyId => "ARTIFACTS_S3_ACCESS_KEY_ID",
            Self::SecretAccessKey => "ARTIFACTS_S3_SECRET_ACCESS_KEY",
            Self::SessionToken => "ARTIFACTS_S3_SESSION_TOKEN",
            Self::Region => "ARTIFACTS_S3_REGION",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// The file's lines, each with what it means. Has no `Debug`: the lines hold secrets.
pub struct KeyFile {
    lines: Vec<Line>,
}

struct Line {
    text: Zeroizing<String>,
    meaning: Meaning,
}

#[derive(PartialEq, Eq)]
enum Meaning {
    /// `[profile NAME]`, or another section (`None`).
    Section(Option<KeyProfile>),
    Setting(Field),
    /// A comment, an empty line, or something we do not know.
    Other,
}

/// The first line of a file that we make.
const HEADER: &str = "# Storage keys of artifacts; see: artifacts storage show";

impl KeyFile {
    /// A file with nothing in it but a comment that says what it is.
    pub fn empty() -> Self {
        Self {
            lines: vec![Line::new(HEADER.into(), Meaning::Other)],
        }
    }

    /// Reads the format. `path` is only for the error's text.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let malformed = |line: usize, reason: &str| Error::MalformedKeyFile {
            path: path.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let before = &bytes[..e.valid_up_to()];
            malformed(
                1 + before.iter().filter(|b| **b == b'\n').count(),
                "not UTF-8",
            )
        })?;
        let mut file = Self { lines: Vec::new() };
        for (index, text) in text.lines().enumerate() {
            let line = Line::parse(text).map_err(|reason| malformed(index + 1, reason))?;
            if let Some(reason) = file.clash(&line) {
                return Err(malformed(index + 1, &reason));
            }
            file.lines.push(line);
        }
        Ok(file)
    }

    /// The file's text. Zeroised when dropped.
    pub fn render(&self) -> Zeroizing<String> {
        let length = self.lines.iter().map(|line| line.text.len() + 1).sum();
        // Allocated at once, so that no half-grown copy of it stays in memory.
        let mut text = Zeroizing::new(String::with_capacity(length));
        for line in &self.lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }

    /// A profile's field; `None` where it is missing or empty.
    pub fn value(&self, profile: &KeyProfile, field: Field) -> Result<Option<FieldValue>> {
        let line = self
            .region(profile)
            .and_then(|lines| self.position(lines, field))
            .map(|at| &self.lines[at]);
        match line.map(Line::value) {
            None | Some("") => Ok(None),
            Some(text) => FieldValue::new(text, field.name()).map(Some),
        }
    }

    /// The profiles in the file, the default one first where it has any field.
    pub fn profiles(&self) -> Vec<KeyProfile> {
        let default = KeyProfile::default();
        let has_default = self
            .region(&default)
            .is_some_and(|lines| self.has_settings(lines));
        let named = self.lines.iter().filter_map(|line| match &line.meaning {
            Meaning::Section(profile) => profile.clone(),
            _ => None,
        });
        has_default
            .then_some(default)
            .into_iter()
            .chain(named)
            .collect()
    }

    /// Sets a profile's field, adding the profile's section where it is missing.
    pub fn set(&mut self, profile: &KeyProfile, field: Field, value: &FieldValue) {
        let line = Line::setting(field, value);
        let region = self.region_or_new(profile);
        match self.position(region.clone(), field) {
            Some(at) => self.lines[at] = line,
            None => {
                let at = self.end_of_text(region);
                self.lines.insert(at, line);
            }
        }
    }

    /// Takes a profile's field out; whether it was there.
    pub fn unset(&mut self, profile: &KeyProfile, field: Field) -> bool {
        let found = self
            .region(profile)
            .and_then(|lines| self.position(lines, field));
        if let Some(at) = found {
            self.lines.remove(at);
        }
        found.is_some()
    }

    /// Takes all of a profile's fields out, and its section line where nothing else stands
    /// below it; how many fields there were.
    pub fn clear(&mut self, profile: &KeyProfile) -> usize {
        let removed = Field::ALL
            .into_iter()
            .filter(|field| self.unset(profile, *field))
            .count();
        if let Some(region) = self.region(profile)
            && !profile.is_default()
            && self.lines[region.clone()].iter().all(Line::is_blank)
        {
            self.lines.drain(region.start - 1..region.end);
        }
        removed
    }

    /// Whether nothing is left that anybody wrote: the file may go.
    pub fn is_bare(&self) -> bool {
        self.lines
            .iter()
            .all(|line| line.is_blank() || line.text.as_str() == HEADER)
    }

    /// Why a line cannot stand after those before it.
    fn clash(&self, line: &Line) -> Option<String> {
        match &line.meaning {
            Meaning::Section(Some(profile)) if self.region(profile).is_some() => {
                Some(format!("profile {profile} begins a second time"))
            }
            Meaning::Setting(field) => {
                let current = self.last_region();
                let twice = self.position(current, *field).is_some();
                twice.then(|| format!("{} stands there a second time", field.name()))
            }
            _ => None,
        }
    }

    /// The lines below the last section line.
    fn last_region(&self) -> Range<usize> {
        let section = self.lines.iter().rposition(Line::is_section);
        section.map_or(0, |at| at + 1)..self.lines.len()
    }

    /// The lines of a profile, without its section line.
    fn region(&self, profile: &KeyProfile) -> Option<Range<usize>> {
        let start = if profile.is_default() {
            0
        } else {
            let section = Meaning::Section(Some(profile.clone()));
            1 + self.lines.iter().position(|line| line.meaning == section)?
        };
        let rest = &self.lines[start..];
        let length = rest.iter().position(Line::is_section).unwrap_or(rest.len());
        Some(start..start + length)
    }

    fn region_or_new(&mut self, profile: &KeyProfile) -> Range<usize> {
        if let Some(region) = self.region(profile) {
            return region;
        }
        if !self.lines.last().is_none_or(Line::is_blank) {
            self.lines.push(Line::new(String::new(), Meaning::Other));
        }
        let section = Meaning::Section(Some(profile.clone()));
        self.lines
            .push(Line::new(format!("[profile {profile}]"), section));
        self.lines.len()..self.lines.len()
    }

    fn position(&self, region: Range<usize>, field: Field) -> Option<usize> {
        let start = region.start;
        self.lines[region]
            .iter()
            .position(|line| line.meaning == Meaning::Setting(field))
            .map(|at| start + at)
    }

    fn has_settings(&self, region: Range<usize>) -> bool {
        Field::ALL
            .into_iter()
            .any(|field| self.position(region.clone(), field).is_some())
    }

    /// Where to add a line, so that blank lines before the next section stay there.
    fn end_of_text(&self, region: Range<usize>) -> usize {
        self.lines[region.clone()]
            .iter()
            .rposition(|line| !line.is_blank())
            .map_or(region.start, |at| region.start + at + 1)
    }
}

impl Line {
    fn new(text: String, meaning: Meaning) -> Self {
        Self {
            text: Zeroizing::new(text),
            meaning,
        }
    }

    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let trimmed = text.trim();
        let meaning = if trimmed.starts_with('[') {
            Meaning::Section(section(trimmed)?)
        } else {
            let name = trimmed.split_once('=').map(|(name, _)| name.trim_end());
            name.and_then(Field::named)
                .map_or(Meaning::Other, Meaning::Setting)
        };
        Ok(Self::new(text.to_owned(), meaning))
    }

    fn setting(field: Field, value: &FieldValue) -> Self {
        let text = format!("{}={}", field.name(), value.expose());
        Self::new(text, Meaning::Setting(field))
    }

    fn value(&self) -> &str {
        self.text
            .split_once('=')
            .map_or("", |(_, value)| value.trim())
    }

    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    fn is_section(&self) -> bool {
        matches!(self.meaning, Meaning::Section(_))
    }
}

/// The profile that a section line begins; `None` for a section of another kind.
fn section(line: &str) -> std::result::Result<Option<KeyProfile>, &'static str> {
    let inner = line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or("a section line ends with ]")?;
    let Some(name) = inner.trim().strip_prefix("profile ") else {
        return Ok(None);
    };
    let profile: KeyProfile = name
        .trim()
        .parse()
        .map_err(|_| "the profile's name is not valid")?;
    if profile.is_default() {
        return Err("the default profile is what stands before any section");
    }
    Ok(Some(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# my keys
ACCESS_KEY_ID=AKIADEFAULT
 SECRET_ACCESS_KEY = s3cret/with=equals+signs
COLOUR=blue

[profile work]
ACCESS_KEY_ID=AKIAWORK
SECRET_ACCESS_KEY=worksecret
SESSION_TOKEN=
# the region is Oregon
REGION=us-west-2

[other tool]
ACCESS_KEY_ID=NOTOURS
";

    fn parse(text: &str) -> KeyFile {
        KeyFile::parse(text.as_bytes(), Path::new("keys")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn profile(name: &str) -> KeyProfile {
        name.parse().expect("a profile")
    }

    fn value(file: &KeyFile, name: &str, field: Field) -> Option<String> {
        let value = file.value(&profile(name), field).expect("a good value");
        value.map(|value| value.expose().to_owned())
    }

    fn new_value(text: &str) -> FieldValue {
        FieldValue::new(text, "test").expect("a value")
    }

    #[test]
    fn profiles_are_told_apart() {
        let file = parse(FILE);
        let get = |name, field| value(&file, name, field);
        assert_eq!(
            get("default", Field::AccessKeyId).as_deref(),
            Some("AKIADEFAULT")
        );
        assert_eq!(
            get("default", Field::SecretAccessKey).as_deref(),
            Some("s3cret/with=equals+signs")
        );
        assert_eq!(get("default", Field::Region), None);
        assert_eq!(get("work", Field::AccessKeyId).as_deref(), Some("AKIAWORK"));
        assert_eq!(get("work", Field::SessionToken), None, "empty is missing");
        assert_eq!(get("work", Field::Region).as_deref(), Some("us-west-2"));
        assert_eq!(get("absent", Field::Region), None);
        assert_eq!(file.profiles(), [profile("default"), profile("work")]);
    }

    #[test]
    fn a_rewrite_keeps_every_line_that_it_does_not_change() {
        assert_eq!(parse(FILE).render().as_str(), FILE);
        let mut file = parse(FILE);
        file.set(&profile("default"), Field::Region, &new_value("eu-west-2"));
        file.set(&profile("work"), Field::Region, &new_value("eu-west-1"));
        let expected = FILE
            .replace("COLOUR=blue\n", "COLOUR=blue\nREGION=eu-west-2\n")
            .replace("us-west-2", "eu-west-1");
        assert_eq!(file.render().as_str(), expected);
    }

    #[test]
    fn a_new_profile_gets_its_section() {
        let mut file = KeyFile::empty();
        file.set(&profile("work"), Field::AccessKeyId, &new_value("AK"));
        file.set(&profile("default"), Field::AccessKeyId, &new_value("DEF"));
        let expected = format!("{HEADER}\nACCESS_KEY_ID=DEF\n\n[profile work]\nACCESS_KEY_ID=AK\n");
        assert_eq!(file.render().as_str(), expected);
    }

    #[test]
    fn clearing_leaves_the_other_profiles_and_the_comments() {
        let mut file = parse(FILE);
        assert_eq!(file.clear(&profile("work")), 4);
        assert!(
            file.render()
                .contains("[profile work]\n# the region is Oregon\n")
        );
        assert_eq!(file.clear(&profile("default")), 2);
        assert_eq!(file.clear(&profile("default")), 0);
        assert!(file.render().starts_with("# my keys\nCOLOUR=blue\n"));
        assert!(!file.is_bare());

        let mut own = KeyFile::empty();
        own.set(&profile("work"), Field::Region, &new_value("eu-1"));
        assert_eq!(own.clear(&profile("work")), 1);
        assert!(own.is_bare());
        assert!(!own.render().contains("[profile"));
    }

    #[test]
    fn what_breaks_the_format_is_named_by_its_line_and_never_quoted() {
        for (text, line, reason) in [
            (
                "REGION=a\nREGION=b\n",
                2,
                "REGION stands there a second time",
            ),
            (
                "\n[profile a]\n[profile a]\n",
                3,
                "profile a begins a second time",
            ),
            ("[profile a\n", 1, "a section line ends with ]"),
            ("[profile a b]\n", 1, "the profile's name is not valid"),
            (
                "[profile default]\n",
                1,
                "the default profile is what stands before any section",
            ),
        ] {
            let error = KeyFile::parse(text.as_bytes(), Path::new("keys")).err();
            let expected = Error::MalformedKeyFile {
                path: "keys".into(),
                line,
                reason: reason.into(),
            };
            assert_eq!(error, Some(expected), "{text:?}");
        }
        let error = KeyFile::parse(b"a\n\xff\n", Path::new("keys")).err();
        assert!(matches!(
            error,
            Some(Error::MalformedKeyFile { line: 2, .. })
        ));
        let file = parse("SECRET_ACCESS_KEY=top secret\n");
        let error = file
            .value(&KeyProfile::default(), Field::SecretAccessKey)
            .err()
            .expect("refused");
        assert!(!error.to_string().contains("top"), "{error}");
    }

    #[test]
    fn names_and_variables_agree() {
        let names = Field::ALL.map(Field::name);
        assert_eq!(
            names,
            [
                "ACCESS_KEY_ID",
                "SECRET_ACCESS_KEY",
                "SESSION_TOKEN",
                "REGION"
            ]
        );
    }
}
