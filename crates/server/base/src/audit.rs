//! An audit in a file: one line of JSON for each record, each bound to all before it.
//!
//! What a line is, `vault::audit` says.
//!
//! A record is in the file (in the system's memory, which a killed process leaves behind) when
//! [`append`](AuditFile::append) returns; [`sync`](AuditFile::sync) puts it on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use vault::audit::{LONGEST_LINE, Link, Unwritable, follow};

pub use vault::audit::Verdict;

/// Why the audit is not kept. Nothing may be done then that it would have to say.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process writes it.
    #[error("the audit {} is kept by another process\nhint: each server has a file of its own", .0.display())]
    InUse(PathBuf),
    /// It is no audit, or its last line was changed.
    #[error(
        "{} is no audit, or its last line was changed\nhint: move it away and keep it; `artifactsd signer audit` says where the chain breaks",
        .0.display()
    )]
    Broken(PathBuf),
    /// Others could write it, or it is elsewhere.
    #[error(
        "the audit {} is a link, another user's, or others may write it\nhint: name a file in a folder of the server's own, of mode 0600",
        .0.display()
    )]
    Exposed(PathBuf),
    /// A record is longer than any of ours.
    #[error("a record is longer than a line of the audit may be")]
    TooLong,
    /// The system refuses.
    #[error("the audit {} cannot be written: {source}\nhint: is the disk full?", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// A file that records are appended to, by this process alone.
pub struct AuditFile {
    path: PathBuf,
    file: Mutex<Chain>,
}

struct Chain {
    file: File,
    length: u64,
    last: Link,
    /// A write failed and its part could not be taken back.
    torn: bool,
}

/// That a line was cut off which a crash of the machine had left unfinished.
#[derive(Serialize)]
struct Repaired {
    op: &'static str,
    bytes: u64,
}

impl AuditFile {
    /// Opens the file, or makes it (mode 0600). An unfinished line at its end, as a crash of the
    /// machine leaves it, is cut off, and a record says so.
    ///
    /// # Errors
    /// Another process has it, others can write it, it is none, or what the system says.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let wrong = |source| AuditError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => AuditError::Exposed(path.to_owned()),
                _ => wrong(error),
            })?;
        let about = file.metadata().map_err(wrong)?;
        if about.uid() != geteuid().as_raw() || about.mode() & 0o022 != 0 {
            return Err(AuditError::Exposed(path.to_owned()));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| AuditError::InUse(path.to_owned()))?;
        let (last, end, length) = last_line(&mut file).map_err(wrong)?;
        let broken = || AuditError::Broken(path.to_owned());
        let last = match &last {
            None if end > 0 => return Err(broken()),
            None => Link::default(),
            Some(line) => Link::told(line).ok_or_else(broken)?,
        };
        let chain = Chain {
            file,
            length: end,
            last,
            torn: false,
        };
        let audit = Self {
            path: path.to_owned(),
            file: Mutex::new(chain),
        };
        if end < length {
            audit.file.lock().file.set_len(end).map_err(wrong)?;
            let bytes = length - end;
            tracing::warn!(bytes, audit = %path.display(), "an unfinished line was cut off");
            audit.append(&Repaired {
                op: "audit-repaired",
                bytes,
            })?;
        }
        Ok(audit)
    }

    /// Appends a record: a struct of named members, none of them `seq` or `hash`.
    ///
    /// # Errors
    /// It is not in the file.
    pub fn append(&self, record: &impl Serialize) -> Result<(), AuditError> {
        let mut chain = self.file.lock();
        let io = |source| AuditError::Io {
            path: self.path.clone(),
            source,
        };
        if chain.torn {
            return Err(io(io::Error::other(
                "a write before this one failed half-way",
            )));
        }
        let (line, next) = chain.last.next(record).map_err(|error| match error {
            Unwritable::TooLong => AuditError::TooLong,
            Unwritable::Form(error) => io(io::Error::other(error)),
        })?;
        let at = chain.length;
        if let Err(source) = chain.file.write_all_at(line.as_bytes(), at) {
            chain.torn = chain.file.set_len(at).is_err();
            return Err(io(source));
        }
        chain.length += line.len() as u64;
        chain.last = next;
        Ok(())
    }

    /// Puts what was appended on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), AuditError> {
        let file = self.file.lock().file.try_clone();
        let synced = file.and_then(|file| file.sync_data());
        synced.map_err(|source| AuditError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// How many records there are, and the last one's hash, to keep elsewhere.
    pub fn head(&self) -> (u64, String) {
        let chain = self.file.lock();
        (chain.last.seq, hex::encode(chain.last.hash))
    }
}

/// An audit that goes out line by line, where there is no file that lasts: to what collects a
/// program's output. Its chain begins anew with each process.
pub struct AuditStream<W> {
    chain: Mutex<(W, Link)>,
}

impl<W: Write + Send> AuditStream<W> {
    /// Into this.
    pub fn new(writer: W) -> Self {
        Self {
            chain: Mutex::new((writer, Link::default())),
        }
    }

    /// Writes a record: a struct of named members, none of them `seq` or `hash`.
    ///
    /// # Errors
    /// It is not out, or perhaps not whole.
    pub fn append(&self, record: &impl Serialize) -> io::Result<()> {
        let mut chain = self.chain.lock();
        let (writer, last) = &mut *chain;
        let (line, next) = last.next(record).map_err(io::Error::other)?;
        writer.write_all(line.as_bytes())?;
        writer.flush()?;
        *last = next;
        Ok(())
    }
}

/// Follows the chain of a file from its beginning.
///
/// # Errors
/// The file cannot be read.
pub fn verify(path: &Path) -> io::Result<Verdict> {
    follow(BufReader::new(File::open(path)?), |_, _| ())
}

/// The last whole line, where it ends, and how long the file is.
fn last_line(file: &mut File) -> io::Result<(Option<Vec<u8>>, u64, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    // Two lines' room: the last whole one, and the beginning of one that was cut off.
    let from = length.saturating_sub(2 * LONGEST_LINE as u64);
    let mut end = vec![0; usize::try_from(length - from).unwrap_or(0)];
    file.read_exact_at(&mut end, from)?;
    let Some(newline) = end.iter().rposition(|byte| *byte == b'\n') else {
        // Nothing whole: an empty file, a first line that was cut off, or no audit at all.
        let whole = if length > LONGEST_LINE as u64 {
            length
        } else {
            0
        };
        return Ok((None, whole, length));
    };
    let begin = end[..newline]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = end[begin..newline].to_vec();
    Ok((Some(line), from + newline as u64 + 1, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Record {
        op: &'static str,
        n: u32,
    }

    fn written(folder: &Path, count: u32) -> PathBuf {
        let path = folder.join("audit.jsonl");
        let audit = AuditFile::open(&path).unwrap();
        for n in 0..count {
            audit.append(&Record { op: "derive", n }).unwrap();
        }
        path
    }

    #[test]
    fn the_chain_goes_on_after_a_restart_and_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 3);
        let audit = AuditFile::open(&path).unwrap();
        assert!(matches!(AuditFile::open(&path), Err(AuditError::InUse(_))));
        audit.append(&Record { op: "derive", n: 3 }).unwrap();
        let (records, head) = audit.head();
        assert_eq!(records, 4);
        assert_eq!(verify(&path).unwrap(), Verdict::Whole { records, head });
        let text = std::fs::read_to_string(&path).unwrap();
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&first["seq"], &first["op"]), (&1.into(), &"derive".into()));
    }

    #[test]
    fn a_stream_writes_the_lines_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collected.jsonl");
        let stream = AuditStream::new(File::create(&path).unwrap());
        for n in 0..3 {
            stream.append(&Record { op: "derive", n }).unwrap();
        }
        let verdict = verify(&path).unwrap();
        assert!(
            matches!(verdict, Verdict::Whole { records: 3, .. }),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_changed_missing_or_added_line_breaks_it_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 5);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let changed = text.replacen("\"n\":2", "\"n\":7", 1);
        let without = [&lines[..2], &lines[3..]].concat().concat();
        let twice = [&lines[..3], &lines[2..]].concat().concat();
        for (text, seq) in [(changed, 3), (without, 3), (twice, 4)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(verify(&path).unwrap(), Verdict::Broken { seq });
        }
    }

    #[test]
    fn an_unfinished_line_is_cut_off_and_said_and_a_changed_last_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 2);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(AuditFile::open(&path).unwrap().head().0, 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"op\":\"audit-repaired\""), "{text}");
        assert!(matches!(
            verify(&path).unwrap(),
            Verdict::Whole { records: 2, .. }
        ));
        std::fs::write(&path, b"something else\n").unwrap();
        assert!(matches!(AuditFile::open(&path), Err(AuditError::Broken(_))));
    }

    #[test]
    fn a_file_that_others_can_write_or_a_link_is_none() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 1);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let exposed = |path: &Path| matches!(AuditFile::open(path), Err(AuditError::Exposed(_)));
        assert!(exposed(&link));
        for (mode, refused) in [(0o620, true), (0o602, true), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed(&path), refused, "{mode:o}");
        }
    }
}
