//! Where records of the audit go: a file of this worker's, or the output that Lambda collects.

use std::io::Stdout;

use async_trait::async_trait;
use base::audit::{AuditFile, AuditStream};
use parking_lot::Mutex;

use crate::audit::Record;
use crate::ports::{Audit, Away};

const WHO: &str = "the audit";

/// The audit of this process.
pub struct Records {
    sink: Sink,
    /// Why the last record was not kept, until one is.
    trouble: Mutex<Option<String>>,
}

enum Sink {
    File(AuditFile),
    Output(AuditStream<Stdout>),
}

impl Records {
    /// Into a file. A record is in the system's memory when a request is answered, so it outlives
    /// the process; a crash of the machine may take the last ones.
    pub fn in_file(file: AuditFile) -> Self {
        Self::into(Sink::File(file))
    }

    /// To standard output, one JSON line each.
    pub fn to_output() -> Self {
        Self::into(Sink::Output(AuditStream::new(std::io::stdout())))
    }

    fn into(sink: Sink) -> Self {
        Self {
            sink,
            trouble: Mutex::new(None),
        }
    }

    /// Puts what was written on the disk.
    pub fn sync(&self) {
        if let Sink::File(file) = &self.sink
            && let Err(error) = file.sync()
        {
            tracing::warn!(%error, "the audit is not on the disk yet");
        }
    }

    fn append(&self, record: &Record) -> Result<(), String> {
        match &self.sink {
            Sink::File(file) => file.append(record).map_err(|error| error.to_string()),
            Sink::Output(stream) => stream.append(record).map_err(|error| error.to_string()),
        }
    }
}

#[async_trait]
impl Audit for Records {
    /// A line is a few hundred bytes for the system's memory: no time to wait for elsewhere.
    async fn write(&self, record: &Record) -> Result<(), Away> {
        let written = self.append(record);
        *self.trouble.lock() = written.as_ref().err().cloned();
        written.map_err(|why| Away::for_now(WHO, why))
    }

    /// After a failure nothing is changed in the bucket until a record could be kept: refusals
    /// and reads go on trying.
    async fn ready(&self) -> Result<(), Away> {
        match &*self.trouble.lock() {
            Some(why) => Err(Away::for_now(WHO, why.clone())),
            None => Ok(()),
        }
    }
}
