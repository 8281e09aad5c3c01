//! A ticket's file: what it allows counts, at the server that has signed it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::{Orchestrator, Tokens, ticket};
use credentials::Endpoint;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::failure::{Code, Failure, Result};
use crate::variables;

/// A ticket is a signed text of some hundred bytes.
const LIMIT: u64 = 16 * 1024;

/// A ticket, and the orchestrator that it is for.
pub(crate) struct Ticket {
    path: PathBuf,
    url: Endpoint,
}

impl Ticket {
    /// Reads a ticket's file. It goes to the server that has signed it and to no other, unless
    /// that has another address from here.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = text_of(path).map_err(|error| unreadable(path, &error))?;
        let issuer = text.as_ref().and_then(ticket::issuer);
        let issuer = issuer.ok_or_else(|| malformed(path))?;
        let url = match variables::text(variables::ORCHESTRATOR_URL) {
            Some(url) => url.parse()?,
            None => issuer,
        };
        Ok(Self {
            path: path.to_owned(),
            url,
        })
    }

    /// The orchestrator, with the ticket as its token.
    pub(crate) fn orchestrator(self) -> Result<Orchestrator> {
        let orchestrator = Orchestrator::new(self.url.clone())?;
        Ok(orchestrator.with(Arc::new(self)))
    }

    /// The same, where it is the one that knows a workspace.
    pub(crate) fn for_server(self, url: &Endpoint) -> Result<Orchestrator> {
        if self.url == *url {
            return self.orchestrator();
        }
        let text = format!(
            "the ticket {} is for {}, the workspace is known to {url}",
            self.path.display(),
            self.url
        );
        Err(Failure::new(Code::NotAllowed, text)
            .with_hint("name the workspace as HANDLE/NAME, or leave the ticket out"))
    }
}

impl Tokens for Ticket {
    /// Read for each call: a platform may put a new ticket in its place.
    fn token(&self) -> credentials::Result<Option<SecretString>> {
        text_of(&self.path).map_err(|error| credentials::Error::io("read", &self.path, error))
    }
}

fn text_of(path: &Path) -> std::io::Result<Option<SecretString>> {
    let file = std::fs::File::open(path)?;
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(LIMIT).read_to_string(&mut text)?;
    Ok(match text.trim() {
        "" => None,
        text => Some(SecretString::from(text.to_owned())),
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Code::FileUnusable,
        format!("the ticket {} cannot be read: {error}", path.display()),
    )
    .with_hint("give the file that the platform has put there")
}

fn malformed(path: &Path) -> Failure {
    Failure::new(
        Code::FileMalformed,
        format!("{} holds no ticket", path.display()),
    )
    .with_hint("a ticket is what artifacts platform ticket create prints")
}
