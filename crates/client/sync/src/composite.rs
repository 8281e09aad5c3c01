//! ETags of objects that were sent in parts: the MD5 of the parts' MD5s, and how many they
//! are. They tell whether a local file is the same without fetching the object, if the
//! length of the parts can be guessed.

use bucket::Etag;
use md5::{Digest, Md5};

const MIB: u64 = 1 << 20;

/// Lengths of parts that programs use, in MiB: ours and those of the usual tools.
const USUAL: [u64; 14] = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512];

/// Whether a tag, or the part of one before its `-`, looks like an MD5: 32 hexadecimal digits.
pub(crate) fn is_md5(digest: &str) -> bool {
    digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The lengths of parts that would make so many of this size.
pub(crate) fn lengths(etag: &Etag, size: u64) -> Vec<u64> {
    let count = etag.as_str().split_once('-');
    let Some(count) = count.and_then(|(_, count)| count.parse::<u64>().ok()) else {
        return Vec::new();
    };
    let lengths = USUAL.iter().map(|length| length * MIB);
    let mut lengths: Vec<u64> = lengths.filter(|l| size.div_ceil(*l) == count).collect();
    // Whole MiB, as few as do: how a program grows the parts of a very large file.
    if count > 1 && lengths.is_empty() {
        lengths.push(size.div_ceil(count).next_multiple_of(MIB));
    }
    lengths
}

/// Makes such an ETag of bytes that come in order.
pub(crate) struct Composite {
    length: u64,
    left: u64,
    part: Md5,
    all: Md5,
    count: u64,
}

impl Composite {
    pub(crate) fn new(length: u64) -> Self {
        Self {
            length: length.max(1),
            left: length.max(1),
            part: Md5::new(),
            all: Md5::new(),
            count: 0,
        }
    }

    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(fits));
            self.part.update(now);
            self.left -= now.len() as u64;
            bytes = later;
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        self.all.update(self.part.finalize_reset());
        self.count += 1;
        self.left = self.length;
    }

    pub(crate) fn etag(mut self) -> Etag {
        if self.left < self.length {
            self.end_part();
        }
        Etag::new(&format!(
            "{}-{}",
            hex::encode(self.all.finalize()),
            self.count
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_tag_of_the_parts_however_the_bytes_come() {
        // md5(md5("ab") || md5("c")) and so on, by `md5sum` and `xxd -r -p`.
        let of = |pieces: &[&[u8]]| {
            let mut composite = Composite::new(2);
            pieces.iter().for_each(|piece| composite.take(piece));
            composite.etag()
        };
        let parts = [Md5::digest(b"ab"), Md5::digest(b"c")].concat();
        let expected = format!("{}-2", hex::encode(Md5::digest(parts)));
        for pieces in [
            &[b"abc".as_slice()][..],
            &[b"a", b"bc"],
            &[b"a", b"b", b"c"],
        ] {
            assert_eq!(of(pieces).as_str(), expected);
        }
        assert!(of(&[b"abcd"]).as_str().ends_with("-2"), "no empty part");
    }

    #[test]
    fn only_lengths_that_make_as_many_parts_are_tried() {
        let etag = |count: &str| Etag::new(&format!("d41d8cd98f00b204e9800998ecf8427e{count}"));
        assert_eq!(lengths(&etag("-3"), 24 * MIB), [8 * MIB, 10 * MIB]);
        assert_eq!(lengths(&etag("-2"), 6 * MIB), [5 * MIB]);
        assert!(lengths(&etag(""), 6 * MIB).is_empty());
        assert_eq!(lengths(&etag("-9999"), 90_000 * MIB), [10 * MIB]);
    }
}
