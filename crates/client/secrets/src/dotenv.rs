//! Dotenv files: `NAME=value` lines, as far as all of their readers agree.
//!
//! `export` may stand before a name; a value may be in single quotes (taken as it is) or double
//! quotes (with `\n`, `\r`, `\t`, `\"`, `\\` and `\$`); without quotes it ends at ` #`. Nothing
//! is put in for `$NAME`: readers do not agree on it, so a value with it is an error.

use zeroize::Zeroizing;

/// One line's variable.
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Zeroizing<String>,
}

/// Why a file is not read. Never with what stands there, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Malformed {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Takes a file's text apart; where a name is there twice, the last one counts.
///
/// # Errors
/// The first line that is of another form.
pub fn parse(text: &str) -> Result<Vec<Variable>, Malformed> {
    let mut found: Vec<Variable> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = one(line).map_err(|reason| Malformed {
            line: number + 1,
            reason,
        })?;
        found.retain(|known| known.name != variable.name);
        found.push(variable);
    }
    Ok(found)
}

fn one(line: &str) -> Result<Variable, &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("it is not NAME=value")?;
    let name = name.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(plain) {
        return Err("a variable's name has letters, digits and '_' only");
    }
    Ok(Variable {
        name: name.to_owned(),
        value: Zeroizing::new(value_of(value.trim())?),
    })
}

fn value_of(text: &str) -> Result<String, &'static str> {
    const REFERENCE: &str = "it refers to another variable, which readers do not agree on";
    if let Some(rest) = text.strip_prefix('\'') {
        let (value, after) = rest.split_once('\'').ok_or("a quote is not closed")?;
        return ended(after).map(|()| value.to_owned());
    }
    if let Some(rest) = text.strip_prefix('"') {
        return double_quoted(rest);
    }
    let end = text.find(" #").unwrap_or(text.len());
    let value = text[..end].trim_end();
    match value.contains(['$', '`']) {
        true => Err(REFERENCE),
        false => Ok(value.to_owned()),
    }
}

fn double_quoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return ended(rest.as_str()).map(|()| value),
            '$' | '`' => {
                return Err("it refers to another variable, which readers do not agree on");
            }
            '\\' => value.push(match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(c @ ('"' | '\\' | '$' | '`')) => c,
                _ => return Err("a backslash before something that it means nothing for"),
            }),
            c => value.push(c),
        }
    }
    Err("a quote is not closed")
}

/// After a value only a comment may come.
fn ended(after: &str) -> Result<(), &'static str> {
    let after = after.trim_start();
    match after.is_empty() || after.starts_with('#') {
        true => Ok(()),
        false => Err("something follows the closing quote"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let parsed = parse(text).expect("good");
        parsed
            .into_iter()
            .map(|v| (v.name, v.value.to_string()))
            .collect()
    }

    #[test]
    fn the_forms_that_all_readers_agree_on() {
        let text = "# c\n\nA=one\nexport B = two # c\nC='th$r\\ee' # c\nD=\"fo\\\"ur\\n\"\nE=\nF=a#b\nA=six\r\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![
            pair("B", "two"),
            pair("C", "th$r\\ee"),
            pair("D", "fo\"ur\n"),
            pair("E", ""),
            pair("F", "a#b"),
            pair("A", "six"),
        ];
        assert_eq!(values(text), expected);
    }

    #[test]
    fn what_readers_do_not_agree_on_is_refused_with_its_line() {
        for bad in [
            "A",
            "1=b",
            "A B=c",
            "A='b",
            "A=\"b",
            "A=\"b\"c",
            "A=$B",
            "A=\"$B\"",
            "A=\"\\x\"",
        ] {
            let error = parse(&format!("X=1\n{bad}")).err();
            assert_eq!(error.map(|e| e.line), Some(2), "{bad}");
        }
    }
}
