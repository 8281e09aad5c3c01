//! The unit of `systemd --user`, as text (systemd.unit(5), systemd.service(5), systemd.exec(5),
//! systemd.syntax(7)).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::manager::Unit;

/// What the unit says beside what it runs. Failures are tried again after pauses that grow from
/// five seconds to five minutes where systemd can (since 254), else after five seconds; wrong
/// usage (2) is not. User units can have no namespaces of their own, so this is what is left;
/// without RestrictSUIDSGID, which would take openat2 away.
const REST: &str = "\
Restart=on-failure
RestartSec=5s
RestartSteps=6
RestartMaxDelaySec=5min
RestartPreventExitStatus=2
TimeoutStopSec=30s
KillMode=mixed
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
";

/// The unit's text.
pub(super) fn text(unit: &Unit) -> String {
    let mut text = format!(
        "[Unit]\n\
         Description=Artifacts keeps a folder like workspace {}\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\n\
         Type=exec\n",
        unit.name
    );
    for (name, value) in &unit.environment {
        let mut assignment = OsStr::new(name).to_owned();
        assignment.push("=");
        assignment.push(value);
        text += &format!("Environment={}\n", quoted(&assignment));
    }
    // The colon: no variable is put in anywhere, so `$` is a character like others.
    let mut program = OsStr::new(":").to_owned();
    program.push(&unit.program);
    text += &format!("ExecStart={}", quoted(&program));
    for word in &unit.words {
        text += &format!(" {}", quoted(word));
    }
    text + "\n" + REST
}

/// A word as systemd reads it back: in quotes, `%` doubled, and what quotes do not hold by its
/// number.
fn quoted(word: &OsStr) -> String {
    let mut text = String::from("\"");
    let bytes = word.as_bytes();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                '%' => text.push_str("%%"),
                character if character.is_control() => {
                    let mut buffer = [0; 4];
                    let bytes = character.encode_utf8(&mut buffer).bytes();
                    text.extend(bytes.map(number));
                }
                character => text.push(character),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(number));
    }
    text.push('"');
    text
}

fn number(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::super::manager::tests::unit;
    use super::*;

    #[test]
    fn a_unit_is_this_text() {
        let expected = "\
[Unit]
Description=Artifacts keeps a folder like workspace my-notes
StartLimitIntervalSec=0

[Service]
Type=exec
Environment=\"XDG_STATE_HOME=/home/ada/100%% \\\"state\\\"\"
ExecStart=\":/opt/my programs/artifacts\" \"bisync\" \"my-notes\" \"/home/ada/a b %%h $HOME ${x} 'q' \\\"q\\\" back\\\\slash\" \"--watch\"
Restart=on-failure
RestartSec=5s
RestartSteps=6
RestartMaxDelaySec=5min
RestartPreventExitStatus=2
TimeoutStopSec=30s
KillMode=mixed
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
";
        assert_eq!(text(&unit()), expected);
    }

    #[test]
    fn no_word_breaks_its_line() {
        for (word, shown) in [
            (&b"a\nb"[..], "\"a\\x0ab\""),
            (b"\xff/\xc3\xa4", "\"\\xff/\u{e4}\""),
            (b"", "\"\""),
            (b"\t", "\"\\x09\""),
        ] {
            assert_eq!(quoted(OsStr::from_bytes(word)), shown);
        }
    }
}
