//! The parameters of a call.

use std::collections::BTreeMap;

use super::refusal::Refusal;

/// What of the form was not taken yet.
pub(super) struct Form {
    fields: BTreeMap<String, String>,
}

/// A page of a list as it was asked for.
pub(super) struct Window {
    /// Only what has a path that begins so.
    pub(super) path_prefix: String,
    /// The last name of the page before.
    pub(super) after: Option<String>,
    pub(super) most: usize,
}

impl Form {
    /// Reads a form; a parameter given twice is refused, so that which of them counts is
    /// never a question.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                return Err(Refusal::validation("a parameter is given twice"));
            }
        }
        Ok(Self { fields })
    }

    /// A parameter that may be missing.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name)
    }

    /// Whether a parameter is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A parameter that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, Refusal> {
        self.take(name)
            .ok_or_else(|| Refusal::validation(format!("{name} is missing")))
    }

    /// The name of a user or policy: letters, digits and `+=,.@-_`, as many as `most`.
    pub(super) fn name(&mut self, parameter: &str, most: usize) -> Result<String, Refusal> {
        let name = self.need(parameter)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
        if (1..=most).contains(&name.len()) && name.chars().all(good) {
            Ok(name)
        } else {
            Err(Refusal::validation(format!(
                "{parameter} is not a name of 1 to {most} letters, digits and +=,.@-_"
            )))
        }
    }

    /// A list: `NAME.member.1` and so on; one without members may be written as an empty
    /// `NAME`.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        if self.take(name).is_some_and(|text| !text.is_empty()) {
            return Err(Refusal::validation(format!("{name} is a list")));
        }
        let mut members = Vec::new();
        while let Some(member) = self.take(&format!("{name}.member.{}", members.len() + 1)) {
            members.push(member);
        }
        Ok(members)
    }

    /// `Path`, which is `/` where nothing is said.
    pub(super) fn path(&mut self) -> Result<String, Refusal> {
        let path = self.take("Path").unwrap_or_else(|| "/".into());
        let graphic = path.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if graphic && path.len() <= 512 && path.starts_with('/') && path.ends_with('/') {
            Ok(path)
        } else {
            Err(Refusal::validation("Path must begin and end with a slash"))
        }
    }

    /// Which page of a list.
    pub(super) fn window(&mut self) -> Result<Window, Refusal> {
        let most = match self.take("MaxItems") {
            None => 100,
            Some(text) => text
                .parse()
                .ok()
                .filter(|most| (1..=1000).contains(most))
                .ok_or_else(|| Refusal::validation("MaxItems is not between 1 and 1000"))?,
        };
        Ok(Window {
            path_prefix: self.take("PathPrefix").unwrap_or_default(),
            after: self.take("Marker"),
            most,
        })
    }

    /// Refuses what no one took: it would change what the call means.
    pub(super) fn finish(&self) -> Result<(), Refusal> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::validation(format!(
                "this store does not know the parameter {name} here"
            ))),
        }
    }
}
