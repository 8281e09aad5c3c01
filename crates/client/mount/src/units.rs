//! Amounts as people read them.

use crate::control::Outcome;

/// `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `3 files (1.2 MiB)`, or `2 changes` where no file's bytes wait, and attributes where there
/// are any: `1 change and 2 attributes`.
pub fn pending(outcome: &Outcome) -> String {
    let contents = match outcome.pending_files {
        0 => plural(outcome.pending_changes, "change"),
        files => format!(
            "{} ({})",
            plural(files, "file"),
            bytes(outcome.pending_bytes)
        ),
    };
    match (outcome.pending_changes, outcome.pending_attributes) {
        (_, 0) => contents,
        (0, attributes) => plural(attributes, "attribute"),
        (_, attributes) => format!("{contents} and {}", plural(attributes, "attribute")),
    }
}

fn plural(count: u64, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        let outcome = Outcome {
            pending_changes: 1,
            ..Outcome::default()
        };
        assert_eq!(pending(&outcome), "1 change");
        let outcome = Outcome {
            pending_changes: 9,
            pending_files: 2,
            pending_bytes: 2048,
            ..outcome
        };
        assert_eq!(pending(&outcome), "2 files (2.0 KiB)");
        let outcome = Outcome {
            pending_attributes: 1,
            ..outcome
        };
        assert_eq!(pending(&outcome), "2 files (2.0 KiB) and 1 attribute");
        let outcome = Outcome {
            pending_attributes: 3,
            ..Outcome::default()
        };
        assert_eq!(pending(&outcome), "3 attributes");
    }
}
