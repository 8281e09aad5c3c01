//! How one segment of an object key shows as a file name, and back.
//!
//! A bucket may hold keys that no file system can show: `a//b`, `.`, `..`, a NUL, a segment
//! past 255 bytes. They appear under an escaped name that begins with [`MARK`], and the
//! name maps back to the very same segment. No file may be *created* under a name that
//! begins with the mark, so an escaped name always means what it says.

use std::borrow::Cow;

/// What every escaped name begins with.
pub const MARK: &str = "%!";

/// The suffix of an object that holds a symlink's target (rclone's convention).
pub const LINK_SUFFIX: &str = ".rclonelink";

/// The directory at a workspace's root whose content is ours and never shown.
pub const HIDDEN: &str = ".artifacts";

/// The most bytes that one file name may have (Linux `NAME_MAX`).
pub const MAX_BYTES: usize = 255;

/// The file name for one key segment. Distinct segments give distinct names.
pub fn from_segment(segment: &str) -> Cow<'_, str> {
    if segment.len() > MAX_BYTES {
        return Cow::Owned(shortened(segment));
    }
    let plain = !matches!(segment, "" | "." | "..")
        && !segment.contains('\0')
        && !segment.starts_with(MARK);
    if plain {
        return Cow::Borrowed(segment);
    }
    let mut name = String::from(MARK);
    for c in segment.chars() {
        match c {
            '.' if matches!(segment, "." | "..") => name.push_str("%2E"),
            '%' => name.push_str("%25"),
            '\0' => name.push_str("%00"),
            c => name.push(c),
        }
    }
    if name.len() > MAX_BYTES {
        return Cow::Owned(shortened(segment));
    }
    Cow::Owned(name)
}

/// The name under which an object shows whose plain name belongs to a directory or link
/// of the same name (`a` beside `a/b`): the directory keeps the name.
pub fn shadowed(segment: &str) -> String {
    let name = format!(
        "{MARK}file%21{}",
        segment.replace('%', "%25").replace('\0', "%00")
    );
    if name.len() > MAX_BYTES {
        shortened(segment)
    } else {
        name
    }
}

/// Whether a program may create a file under this name.
pub fn may_create(name: &str) -> bool {
    !name.starts_with(MARK)
}

/// Too long to escape in place: the beginning, and a hash that keeps it distinct. Such a
/// name maps back only through the tree that listed it.
fn shortened(segment: &str) -> String {
    // FNV-1a, 64 bits twice with different offsets: no secrecy needed, only distinct names.
    let hash = |seed: u64| {
        segment.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let mut end = 120;
    while !segment.is_char_boundary(end) {
        end -= 1;
    }
    let head = segment[..end].replace('%', "%25").replace('\0', "%00");
    let mut head_end = head.len().min(180);
    while !head.is_char_boundary(head_end) {
        head_end -= 1;
    }
    format!(
        "{MARK}long%21{:016x}{:016x}%21{}",
        hash(0xcbf2_9ce4_8422_2325),
        hash(0x6c62_272e_07bb_0142),
        &head[..head_end]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_file_system_cannot_show_is_escaped() {
        assert_eq!(from_segment("notes.md"), "notes.md");
        assert_eq!(from_segment(""), "%!");
        assert_eq!(from_segment("."), "%!%2E");
        assert_eq!(from_segment(".."), "%!%2E%2E");
        assert_eq!(from_segment("a\0b"), "%!a%00b");
        assert_eq!(from_segment("%!x"), "%!%25!x");
        assert_eq!(shadowed("a"), "%!file%21a");
    }

    proptest! {
        #[test]
        fn names_fit_and_differ(a in "\\PC{0,300}|[.%!\\x00a]{0,6}", b in "[.%!\\x00a]{0,6}") {
            for segment in [&a, &b] {
                let name = from_segment(segment);
                prop_assert!((1..=MAX_BYTES).contains(&name.len()));
                prop_assert!(!matches!(&*name, "." | "..") && !name.contains('\0'));
            }
            if a != b {
                prop_assert_ne!(from_segment(&a), from_segment(&b));
            }
        }
    }
}
