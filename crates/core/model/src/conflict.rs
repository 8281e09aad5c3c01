//! The name of a conflict copy: `name.conflict-20261122-201501-HOST.ext`.

use time::OffsetDateTime;

const MARK: &str = ".conflict-";

/// The conflict copy's name for a file `name` (no folders), made by `host` at `when` (UTC).
///
/// The last extension stays last, so that programs still know the type. The stem gives way
/// where the result would have more than `room` bytes; with room for hardly more than the
/// mark, the result is longer all the same.
pub fn copy_name(name: &str, host: &str, when: OffsetDateTime, room: usize) -> String {
    let (stem, extension) = split_extension(name);
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(32)
        .collect();
    let tail = format!(
        "{MARK}{:04}{:02}{:02}-{:02}{:02}{:02}-{}{extension}",
        when.year(),
        u8::from(when.month()),
        when.day(),
        when.hour(),
        when.minute(),
        when.second(),
        if host.is_empty() { "host" } else { &host },
    );
    let mut stem_bytes = stem.len().min(room.saturating_sub(tail.len()));
    while !stem.is_char_boundary(stem_bytes) {
        stem_bytes -= 1;
    }
    format!("{}{tail}", &stem[..stem_bytes])
}

/// The original's name, when `name` is a conflict copy's.
pub fn original_name(name: &str) -> Option<String> {
    let at = name.rfind(MARK)?;
    let rest = &name[at + MARK.len()..];
    let stamp = rest.get(..16)?;
    let well_formed = stamp.bytes().enumerate().all(|(i, b)| match i {
        8 | 15 => b == b'-',
        _ => b.is_ascii_digit(),
    });
    if !well_formed || at == 0 && rest.len() <= 16 {
        return None;
    }
    let extension = rest[16..].find('.').map_or("", |dot| &rest[16 + dot..]);
    Some(format!("{}{extension}", &name[..at]))
}

fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const WHEN: OffsetDateTime = datetime!(2026-11-22 20:15:01 UTC);

    #[test]
    fn the_extension_stays_last_and_the_name_maps_back() {
        for (name, copy) in [
            ("notes.md", "notes.conflict-20261122-201501-ada.md"),
            ("Makefile", "Makefile.conflict-20261122-201501-ada"),
            (".env", ".env.conflict-20261122-201501-ada"),
            ("a.tar.gz", "a.tar.conflict-20261122-201501-ada.gz"),
        ] {
            assert_eq!(copy_name(name, "ada", WHEN, 255), copy);
            assert_eq!(original_name(copy).as_deref(), Some(name));
        }
        assert_eq!(original_name("a.conflict-then.md"), None);
    }

    #[test]
    fn a_copy_of_a_long_name_still_fits_a_directory() {
        let copy = copy_name(&"ü".repeat(127), "a host/with .. odd", WHEN, 255);
        assert!(copy.len() <= 255);
        assert!(copy.ends_with("-ahostwithodd"));
    }
}
