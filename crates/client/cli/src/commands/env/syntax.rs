//! The same variables in five syntaxes. Values have no control characters (the key chain
//! and the workspace's file refuse them), but may have any quote.

use credentials::WorkspaceConfig;
use model::WorkspaceName;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// A variable to set, or (without a value) one that must not be set.
pub(in crate::commands) struct Variable {
    name: &'static str,
    value: Option<Zeroizing<String>>,
    secret: bool,
}

impl Variable {
    pub(in crate::commands) fn secret(name: &'static str, value: Option<&str>) -> Self {
        Self::new(name, value, true)
    }

    pub(in crate::commands) fn plain(name: &'static str, value: Option<&str>) -> Self {
        Self::new(name, value, false)
    }

    /// The value, where it must not be seen.
    pub(in crate::commands) fn secret_value(&self) -> Option<&str> {
        self.value
            .as_deref()
            .filter(|_| self.secret)
            .map(|v| v.as_str())
    }

    /// The name.
    pub(in crate::commands) fn name(&self) -> &'static str {
        self.name
    }

    /// The value, where there is one.
    pub(in crate::commands) fn value(&self) -> Option<&str> {
        self.value.as_deref().map(String::as_str)
    }

    fn new(name: &'static str, value: Option<&str>, secret: bool) -> Self {
        let value = value.map(|text| Zeroizing::new(text.to_owned()));
        Self {
            name,
            value,
            secret,
        }
    }
}

/// `export` lines. What has no value is unset: another workspace's token or endpoint left
/// in the shell would spoil this one's keys.
pub(in crate::commands) fn bash(variables: &[Variable]) -> String {
    lines(variables, |name, value| match value {
        Some(value) => Some(format!("export {name}={}", single_quoted(value))),
        None => Some(format!("unset {name}")),
    })
}

/// `NAME=VALUE` lines. Single quotes mean "as it is" to all readers of such files; a value
/// with one in it gets double quotes and backslashes.
pub(in crate::commands) fn dotenv(variables: &[Variable]) -> String {
    lines(variables, |name, value| {
        let value = value?;
        Some(if is_plain(value) {
            format!("{name}={value}")
        } else if value.contains('\'') {
            format!("{name}={}", double_quoted(value))
        } else {
            format!("{name}='{value}'")
        })
    })
}

/// One object; what has no value is left out.
pub(in crate::commands) fn json(variables: &[Variable]) -> String {
    let set = variables.iter().filter_map(|v| {
        let value = v.value.as_deref()?;
        Some((v.name.to_owned(), Value::String(value.clone())))
    });
    let object: Map<String, Value> = set.collect();
    format!("{:#}\n", Value::Object(object))
}

/// Lines for the file that `GITHUB_ENV` names. An empty value replaces one that an earlier
/// step left.
pub(in crate::commands) fn github(variables: &[Variable]) -> String {
    lines(variables, |name, value| {
        Some(format!("{name}={}", value.unwrap_or_default()))
    })
}

/// A section of rclone.conf.
pub(in crate::commands) fn rclone(
    name: &WorkspaceName,
    config: &WorkspaceConfig,
    variables: &[Variable],
) -> String {
    let value = |wanted| {
        let found = variables.iter().find(|v| v.name == wanted);
        found.and_then(|v| v.value.as_deref()).map(|v| v.as_str())
    };
    let own = config.endpoint.is_some();
    let settings = [
        ("type", Some("s3")),
        ("provider", Some(if own { "Other" } else { "AWS" })),
        ("access_key_id", value("AWS_ACCESS_KEY_ID")),
        ("secret_access_key", value("AWS_SECRET_ACCESS_KEY")),
        ("session_token", value("AWS_SESSION_TOKEN")),
        ("region", value("AWS_REGION")),
        ("endpoint", value("AWS_ENDPOINT_URL_S3")),
        ("force_path_style", Some(if own { "true" } else { "false" })),
        ("no_check_bucket", Some("true")),
    ];
    let mut text = format!(
        "# for rclone.conf; then: rclone ls {name}:{}/{}\n[{name}]\n",
        config.bucket, config.prefix
    );
    for (setting, value) in settings {
        if let Some(value) = value {
            text.push_str(&format!("{setting} = {}\n", rclone_value(value)));
        }
    }
    text
}

fn lines(variables: &[Variable], line: impl Fn(&str, Option<&str>) -> Option<String>) -> String {
    variables
        .iter()
        .filter_map(|v| line(v.name, v.value.as_ref().map(|v| v.as_str())))
        .map(|line| line + "\n")
        .collect()
}

fn is_plain(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/+=:._-@%,".contains(c);
    !value.is_empty() && value.chars().all(plain)
}

fn single_quoted(value: &str) -> String {
    if is_plain(value) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn double_quoted(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// rclone's reader takes a value to the end of the line, but strips one pair of quotes or
/// back-ticks around it; three back-ticks keep such a value as it is.
fn rclone_value(value: &str) -> String {
    let quote = |c: char| matches!(c, '"' | '\'' | '`');
    if value.starts_with(quote) {
        format!("```{value}```")
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every quote and every character that some shell or parser takes for its own.
    const NASTY: &str = r##"a'b"c$d`e\f#g;h&i|j<k>l*m?n!o~p(q)r{s}t=u%v^w,x/y+z"##;

    fn variables() -> Vec<Variable> {
        vec![
            Variable::secret("AWS_SECRET_ACCESS_KEY", Some(NASTY)),
            Variable::secret("AWS_SESSION_TOKEN", None),
            Variable::plain("AWS_REGION", Some("us-east-1")),
        ]
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let script = format!(
            "AWS_SESSION_TOKEN=old; {}printf '%s|%s|%s' \"$AWS_SECRET_ACCESS_KEY\" \"${{AWS_SESSION_TOKEN-unset}}\" \"$AWS_REGION\"",
            bash(&variables())
        );
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .output();
        let output = output.expect("a shell");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(text, format!("{NASTY}|unset|us-east-1"));
    }

    #[test]
    fn plain_values_need_no_quotes_and_others_get_them() {
        let of = |value| dotenv(&[Variable::plain("A", Some(value))]);
        assert_eq!(of("abc/+="), "A=abc/+=\n");
        assert_eq!(of("a#b"), "A='a#b'\n");
        assert_eq!(of("a'b$c"), "A=\"a'b\\$c\"\n");
        assert_eq!(dotenv(&[Variable::plain("A", None)]), "");
    }

    #[test]
    fn json_leaves_out_what_has_no_value() {
        let value: Value = serde_json::from_str(&json(&variables())).expect("JSON");
        assert_eq!(value["AWS_SECRET_ACCESS_KEY"], NASTY);
        assert_eq!(value.as_object().map(Map::len), Some(2));
    }

    #[test]
    fn github_takes_lines_as_they_are() {
        let expected =
            format!("AWS_SECRET_ACCESS_KEY={NASTY}\nAWS_SESSION_TOKEN=\nAWS_REGION=us-east-1\n");
        assert_eq!(github(&variables()), expected);
    }
}
