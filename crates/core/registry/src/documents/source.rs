//! Where documents lie: a folder, or an https address.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Actor;
use reqwest::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, StatusCode, Url};

use super::LONGEST_DOCUMENT;
use crate::Unavailable;

/// The file of the epoch.
pub const EPOCH_FILE: &str = "epoch.jws";

/// The file of an operator's list.
pub fn operator_file(operator: &Actor) -> String {
    format!("{operator}.jws")
}

/// Where documents lie.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A web server; the documents lie below this address.
    Web(Web),
}

/// A web server that has documents.
#[derive(Debug, Clone)]
pub struct Web {
    base: Url,
    client: Client,
}

/// By what a document is known again.
pub(super) struct Fresh {
    /// Its bytes.
    bytes: Vec<u8>,
    /// What the server calls this version of it.
    tag: Option<HeaderValue>,
}

impl Fresh {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) enum Fetched {
    Unchanged,
    Missing,
    Found(Fresh),
}

/// Two tries fit into what the registry may take in all.
const TRIES: usize = 2;
const PATIENCE: Duration = Duration::from_millis(900);
const CONNECT: Duration = Duration::from_millis(500);

impl Source {
    /// A folder's path, or an `https://` address (`http://` for this machine only).
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn parse(text: &str) -> Result<Self, Unavailable> {
        if !text.contains("://") {
            return Ok(Self::Folder(text.into()));
        }
        let bad = |why: &str| {
            Unavailable(format!(
                "the registry's address {text}: {why}\nhint: give a folder or https://HOST/PATH/"
            ))
        };
        let mut base = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
        crate::address::check(&base).map_err(|why| bad(&why))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = crate::address::client([&base])
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .build()
            .map_err(|e| bad(&e.to_string()))?;
        Ok(Self::Web(Web { base, client }))
    }

    pub(super) async fn fetch(
        &self,
        file: &str,
        known: Option<&Fresh>,
    ) -> Result<Fetched, Unavailable> {
        let (bytes, tag) = match self {
            Self::Folder(folder) => match from_folder(folder.join(file)).await? {
                Some(bytes) => (bytes, None),
                None => return Ok(Fetched::Missing),
            },
            Self::Web(web) => match web.get(file, known).await? {
                Got::Unchanged => return Ok(Fetched::Unchanged),
                Got::Missing => return Ok(Fetched::Missing),
                Got::Found(bytes, tag) => (bytes, tag),
            },
        };
        if known.is_some_and(|known| known.bytes == bytes) {
            return Ok(Fetched::Unchanged);
        }
        Ok(Fetched::Found(Fresh { bytes, tag }))
    }

    #[cfg(test)]
    pub(crate) async fn is_missing(&self, file: &str) -> Result<bool, Unavailable> {
        let fetched = self.fetch(file, None).await?;
        Ok(matches!(fetched, Fetched::Missing))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Web(web) => write!(f, "{}", web.base),
        }
    }
}

/// Read whole each time: times of files are too coarse to tell two quick changes apart. A folder
/// of a network may hang, so it is not waited for without end.
async fn from_folder(path: PathBuf) -> Result<Option<Vec<u8>>, Unavailable> {
    let shown = path.display().to_string();
    let reading = tokio::task::spawn_blocking(move || read_file(&path));
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(read)) => read.map_err(|e| Unavailable(format!("cannot read {shown}: {e}"))),
        Ok(Err(e)) => Err(Unavailable(format!("cannot read {shown}: {e}"))),
        Err(_) => Err(Unavailable(format!("{shown} does not answer"))),
    }
}

fn read_file(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    let limit = LONGEST_DOCUMENT as u64 + 1;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

enum Got {
    Unchanged,
    Missing,
    Found(Vec<u8>, Option<HeaderValue>),
}

impl Web {
    async fn get(&self, file: &str, known: Option<&Fresh>) -> Result<Got, Unavailable> {
        let bad = |e: &dyn fmt::Display| Unavailable(format!("{}{file}: {e}", self.base));
        let url = self.base.join(file).map_err(|e| bad(&e))?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.get_once(&url, known).await {
                Err(_) if tries < TRIES => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => return answer.map_err(|e| bad(&e)),
            }
        }
    }

    async fn get_once(&self, url: &Url, known: Option<&Fresh>) -> Result<Got, String> {
        let words = crate::address::words;
        let mut request = self.client.get(url.clone());
        // Whoever stands between must not answer from memory.
        request = request.header(CACHE_CONTROL, "no-cache");
        if let Some(tag) = known.and_then(|known| known.tag.as_ref()) {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let mut response = request.send().await.map_err(|e| words(&e))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Got::Unchanged),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Got::Missing),
            status => return Err(format!("the server answers {status}")),
        }
        let tag = response.headers().get(ETAG).cloned();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| words(&e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_DOCUMENT {
                return Err(format!("longer than {LONGEST_DOCUMENT} bytes"));
            }
        }
        Ok(Got::Found(bytes, tag))
    }
}
