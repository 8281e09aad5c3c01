//! An audit in a file: one line of JSON for each record, each bound to all before it.
//!
//! A line is an object whose first member is `seq` (1, 2, 3 …) and whose last is `hash`, 64
//! hexadecimal digits: `SHA-256("artifacts.audit.v1" ‖ the hash before ‖ the object without its
//! hash)`, where 32 zero bytes stand before the first. So a line that is changed, taken out or
//! put in breaks the chain there. Lines cut off at the end show only against a hash that was
//! kept elsewhere.
//!
//! A record is in the file (in the system's memory, which a killed process leaves behind) when
//! [`append`](AuditFile::append) returns; [`sync`](AuditFile::sync) puts it on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"artifacts.audit.v1";
const HASH_MEMBER: &str = ",\"hash\":\"";

/// What a line has behind its object: the member, 64 digits, `"}`.
const TAIL: usize = HASH_MEMBER.len() + 64 + 2;

/// No line of ours is longer.
const LONGEST_LINE: usize = 16 * 1024;

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
    seq: u64,
    hash: [u8; 32],
    /// A write failed and its part could not be taken back.
    torn: bool,
}

#[derive(Serialize)]
struct Line<'a, T> {
    seq: u64,
    #[serde(flatten)]
    record: &'a T,
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
    /// Another process has it, it is none, or what the system says.
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
            .open(path)
            .map_err(wrong)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| AuditError::InUse(path.to_owned()))?;
        let (last, end, length) = last_line(&mut file).map_err(wrong)?;
        let broken = || AuditError::Broken(path.to_owned());
        let (seq, hash) = match &last {
            None if end > 0 => return Err(broken()),
            None => (0, [0; 32]),
            Some(line) => read_line(line)
                .map(|line| (line.seq, line.hash))
                .ok_or_else(broken)?,
        };
        let chain = Chain {
            file,
            length: end,
            seq,
            hash,
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
        let seq = chain.seq + 1;
        let io = |source| AuditError::Io {
            path: self.path.clone(),
            source,
        };
        if chain.torn {
            return Err(io(io::Error::other(
                "a write before this one failed half-way",
            )));
        }
        let (line, hash) = line_of(seq, &chain.hash, record).map_err(|error| match error {
            Unwritable::TooLong => AuditError::TooLong,
            Unwritable::Form(error) => io(io::Error::other(error)),
        })?;
        let at = chain.length;
        if let Err(source) = chain.file.write_all_at(line.as_bytes(), at) {
            chain.torn = chain.file.set_len(at).is_err();
            return Err(io(source));
        }
        chain.length += line.len() as u64;
        (chain.seq, chain.hash) = (seq, hash);
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
        (chain.seq, hex::encode(chain.hash))
    }
}

/// An audit that goes out line by line, where there is no file that lasts: to what collects a
/// program's output. Its chain begins anew with each process.
pub struct AuditStream<W> {
    chain: Mutex<(W, u64, [u8; 32])>,
}

impl<W: Write + Send> AuditStream<W> {
    /// Into this.
    pub fn new(writer: W) -> Self {
        Self {
            chain: Mutex::new((writer, 0, [0; 32])),
        }
    }

    /// Writes a record: a struct of named members, none of them `seq` or `hash`.
    ///
    /// # Errors
    /// It is not out, or perhaps not whole.
    pub fn append(&self, record: &impl Serialize) -> io::Result<()> {
        let mut chain = self.chain.lock();
        let (writer, seq, hash) = &mut *chain;
        let (line, next) = line_of(*seq + 1, hash, record).map_err(|error| match error {
            Unwritable::TooLong => io::Error::other("the record is too long"),
            Unwritable::Form(error) => io::Error::other(error),
        })?;
        writer.write_all(line.as_bytes())?;
        writer.flush()?;
        (*seq, *hash) = (*seq + 1, next);
        Ok(())
    }
}

/// Why a record is no line.
enum Unwritable {
    TooLong,
    Form(serde_json::Error),
}

/// The line of a record with its hash, and the hash.
fn line_of(
    seq: u64,
    before: &[u8; 32],
    record: &impl Serialize,
) -> Result<(String, [u8; 32]), Unwritable> {
    let line = serde_json::to_string(&Line { seq, record });
    let mut line = line.map_err(Unwritable::Form)?;
    if line.len() + TAIL > LONGEST_LINE {
        return Err(Unwritable::TooLong);
    }
    let hash = chained(before, &line);
    line.pop();
    line.push_str(HASH_MEMBER);
    line.push_str(&hex::encode(hash));
    line.push_str("\"}\n");
    Ok((line, hash))
}

/// What following a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every line follows from the one before it.
    Whole {
        /// How many there are.
        records: u64,
        /// The last one's hash.
        head: String,
    },
    /// The line of this number is missing, or it or one before it was changed.
    Broken {
        /// The number.
        seq: u64,
    },
}

/// Follows the chain of a file from its beginning.
///
/// # Errors
/// The file cannot be read.
pub fn verify(path: &Path) -> io::Result<Verdict> {
    let mut lines = BufReader::new(File::open(path)?);
    let (mut seq, mut hash) = (0, [0; 32]);
    let mut text = Vec::new();
    loop {
        text.clear();
        let limit = LONGEST_LINE as u64 + 1;
        if Read::by_ref(&mut lines)
            .take(limit)
            .read_until(b'\n', &mut text)?
            == 0
        {
            let head = hex::encode(hash);
            return Ok(Verdict::Whole { records: seq, head });
        }
        seq += 1;
        let line = text.strip_suffix(b"\n").and_then(read_line);
        let follows = |line: &Parsed| line.seq == seq && chained(&hash, &line.object) == line.hash;
        match line.filter(follows) {
            Some(line) => hash = line.hash,
            None => return Ok(Verdict::Broken { seq }),
        }
    }
}

struct Parsed {
    seq: u64,
    hash: [u8; 32],
    /// The object without its hash.
    object: String,
}

fn read_line(line: &[u8]) -> Option<Parsed> {
    let line = std::str::from_utf8(line).ok()?;
    let (object, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let digits = tail.strip_prefix(HASH_MEMBER)?.strip_suffix("\"}")?;
    let hash = hex::decode(digits).ok()?.try_into().ok()?;
    let digits = object.strip_prefix("{\"seq\":")?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    Some(Parsed {
        seq: digits[..end].parse().ok()?,
        hash,
        object: format!("{object}}}"),
    })
}

fn chained(before: &[u8; 32], object: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [DOMAIN, before, object.as_bytes()] {
        hash.update(part);
    }
    hash.finalize().into()
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
}
