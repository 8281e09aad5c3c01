//! Secrets on their way to our own background process: through a pipe, because a process's
//! environment can be read for as long as it runs.
//!
//! In the pipe are names and values in turn, each ended by a zero byte.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;

use rustix::io::{FdFlags, fcntl_setfd};
use zeroize::Zeroizing;

use crate::failure::{Code, Failure, Result};

/// A variable's name and text.
pub(crate) type Handed = (String, Zeroizing<String>);

/// More than all variables of ours together.
const LIMIT: u64 = 1 << 20;

/// The end of a pipe that a process started from now on inherits, and out of which it can
/// [`take`] the secrets. Its number is to be told to that process.
pub(crate) fn give(secrets: &[Handed]) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    fcntl_setfd(&reader, FdFlags::empty())?;
    let length = secrets.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
    // Allocated at once, so that no half-grown copy of it stays in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    for (name, value) in secrets {
        for text in [name.as_bytes(), value.as_bytes()] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
    }
    // A pipe may hold as little as a page, and nobody reads yet.
    std::thread::spawn(move || {
        // Where the reader died, its parent hears of it by other means.
        let _ = writer.write_all(&bytes);
    });
    Ok(reader)
}

/// What the parent gives, from the descriptor of this number.
pub(crate) fn take(descriptor: i32) -> Result<Vec<Handed>> {
    let failed = |what: &str| {
        let text = format!("the parent's secrets cannot be taken over: {what}");
        Failure::new(Code::Failed, text)
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    // By its name, so that no number is turned into a descriptor that might be another's.
    File::open(format!("/dev/fd/{descriptor}"))
        .and_then(|pipe| pipe.take(LIMIT).read_to_end(&mut bytes))
        .map_err(|e| failed(&e.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("not UTF-8"))?;
    let mut parts = text.split_terminator('\0');
    let mut handed = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        handed.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }
    Ok(handed)
}

/// The descriptor's number, as the child is told it.
pub(crate) fn number(reader: &PipeReader) -> String {
    reader.as_raw_fd().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_taken() {
        let long = "x".repeat(200_000);
        let given: Vec<Handed> = [("A", "one"), ("B", ""), ("C", long.as_str())]
            .map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())))
            .into();
        let reader = give(&given).expect("a pipe");
        assert_eq!(take(reader.as_raw_fd()), Ok(given));
    }
}
