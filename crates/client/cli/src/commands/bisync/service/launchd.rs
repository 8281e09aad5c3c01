//! The agent of launchd, as text (launchd.plist(5)).

use std::ffi::OsStr;

use super::manager::Unit;

/// What launchd and `launchctl` call it.
pub(super) fn label(name: &str) -> String {
    format!("dev.artifacts.bisync.{name}")
}

/// The property list. launchd starts a program that has failed again, after ten seconds or more.
pub(super) fn text(unit: &Unit) -> String {
    let mut words = string(unit.program.as_os_str());
    for word in &unit.words {
        words += &string(word);
    }
    let mut environment = String::new();
    for (name, value) in &unit.environment {
        environment += &format!("\t\t<key>{}</key>\n{}", escaped(name), string(value));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n\
         <dict>\n\
         \t<key>Label</key>\n\t<string>{}</string>\n\
         \t<key>ProgramArguments</key>\n\t<array>\n{words}\t</array>\n\
         \t<key>EnvironmentVariables</key>\n\t<dict>\n{environment}\t</dict>\n\
         \t<key>RunAtLoad</key>\n\t<true/>\n\
         \t<key>KeepAlive</key>\n\t<dict>\n\t\t<key>SuccessfulExit</key>\n\t\t<false/>\n\t</dict>\n\
         \t<key>ThrottleInterval</key>\n\t<integer>10</integer>\n\
         \t<key>ProcessType</key>\n\t<string>Background</string>\n\
         </dict>\n\
         </plist>\n",
        label(unit.name.as_str())
    )
}

fn string(text: &OsStr) -> String {
    // Names on macOS are UTF-8.
    format!(
        "\t\t<string>{}</string>\n",
        escaped(&text.to_string_lossy())
    )
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::manager::tests::unit;
    use super::*;

    #[test]
    fn an_agent_is_this_text() {
        let mut unit = unit();
        unit.words[2] = "/Users/ada/R&D <notes>".into();
        let text = text(&unit);
        let body = "\
\t<key>Label</key>
\t<string>dev.artifacts.bisync.my-notes</string>
\t<key>ProgramArguments</key>
\t<array>
\t\t<string>/opt/my programs/artifacts</string>
\t\t<string>bisync</string>
\t\t<string>my-notes</string>
\t\t<string>/Users/ada/R&amp;D &lt;notes&gt;</string>
\t\t<string>--watch</string>
\t</array>
\t<key>EnvironmentVariables</key>
\t<dict>
\t\t<key>XDG_STATE_HOME</key>
\t\t<string>/home/ada/100% \"state\"</string>
\t</dict>
\t<key>RunAtLoad</key>
\t<true/>
\t<key>KeepAlive</key>
\t<dict>
\t\t<key>SuccessfulExit</key>
\t\t<false/>
\t</dict>
";
        assert!(text.contains(body), "{text}");
        assert!(text.starts_with("<?xml") && text.ends_with("</plist>\n"));
    }
}
