//! Connections that only read. In WAL mode they never wait for the writer.

use std::path::PathBuf;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{Result, schema};

/// A pool that grows with the requests that read at the same time.
pub(crate) struct Readers {
    index: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(index: PathBuf) -> Self {
        Self {
            index,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs a query, or several on one snapshot of the index.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.index)?,
        };
        let result = query(&connection);
        self.idle.lock().push(connection);
        result
    }

    /// As [`read`](Self::read), with all statements seeing one state of the index.
    pub(crate) fn snapshot<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            query(&transaction)
        })
    }
}
