//! What the servers have in common from their start to their end: the signals that end them, the
//! line that says "ready", TLS from its two flags.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base::Tls;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::whole_file;

/// The signals that end a server. Taken before it is up, so that none finds nobody listening.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From now on they are waited for.
    pub(crate) fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Stops the server when one of them comes.
    pub(crate) async fn stop(mut self, stop: CancellationToken) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    }
}

/// Says that the server takes requests: one JSON line. In a file it is whole or not there, so that
/// a reader that waits for it never sees half of it.
pub(crate) fn announce(
    line: &Value,
    file: Option<&Path>,
) -> Result<(), Box<dyn std::error::Error>> {
    match file {
        None => writeln!(io::stdout(), "{line}")?,
        Some(file) => whole_file::write(file, format!("{line}\n").as_bytes(), 0o644)?,
    }
    Ok(())
}

/// TLS for clients, where both files are named.
pub(crate) fn tls(certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<Tls> {
    let (certificate, key) = (certificate?.clone(), key?.clone());
    Some(Tls {
        certificate,
        key,
        clients: None,
    })
}

/// TLS for other servers of the installation, which show certificates of its authority.
#[cfg(any(feature = "broker", feature = "signer"))]
pub(crate) fn mutual(
    certificate: &Path,
    key: &Path,
    ca: &Path,
    trust_domain: &base::peer::TrustDomain,
) -> Tls {
    Tls {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        clients: Some(base::ClientCa {
            file: ca.to_owned(),
            trust_domain: trust_domain.clone(),
        }),
    }
}
