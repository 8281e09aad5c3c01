//! Certificates and keys as what a listener needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::{Clock, SystemClock};
use crate::peer::TrustDomain;
use crate::reload::Reloaded;

/// A certificate that ends sooner than this is worth a word.
const SOON: i64 = 7 * 24 * 3600;

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Whose certificates clients must show; `None` if they need none.
    pub clients: Option<ClientCa>,
}

/// Whom to take as a peer over mTLS.
#[derive(Debug, Clone)]
pub struct ClientCa {
    /// The authorities, as a PEM file.
    pub file: PathBuf,
    /// What the names in certificates begin with.
    pub trust_domain: TrustDomain,
}

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used for TLS: {reason}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl TlsError {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Makes connections of a listener TLS ones, by the files as they are now.
pub(crate) struct Acceptor {
    tls: Tls,
    config: Reloaded<ServerConfig>,
}

impl Acceptor {
    pub(crate) fn new(tls: &Tls) -> Result<Self, TlsError> {
        let mut files = vec![tls.certificate.clone(), tls.key.clone()];
        files.extend(tls.clients.iter().map(|clients| clients.file.clone()));
        let config = Reloaded::new(files, || config(tls))?;
        let tls = tls.clone();
        Ok(Self { tls, config })
    }

    pub(crate) fn current(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.get(|| config(&self.tls)))
    }

    pub(crate) fn trust_domain(&self) -> Option<&TrustDomain> {
        self.tls
            .clients
            .as_ref()
            .map(|clients| &clients.trust_domain)
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn config(tls: &Tls) -> Result<ServerConfig, TlsError> {
    let (chain, key) = chain_and_key(&tls.certificate, &tls.key)?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = match &tls.clients {
        None => builder.with_safe_default_protocol_versions(),
        // TLS 1.3 hides the client's certificate from those who listen on the way.
        Some(_) => builder.with_protocol_versions(&[&TLS13]),
    };
    let builder = builder.map_err(|error| TlsError::new(&tls.key, error))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(roots(&clients.file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            let wrong = |error| TlsError::new(&clients.file, error);
            builder.with_client_cert_verifier(verifier.map_err(wrong)?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::new(&tls.certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The authorities of a PEM file.
pub(crate) fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::new(file, error))?;
    }
    Ok(roots)
}

/// A chain that counts now, and the key of its first certificate.
pub(crate) fn chain_and_key(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(certificate)?;
    check_times(certificate, &chain[0], SystemClock.now())?;
    let key_der = PrivateKeyDer::from_pem_file(key);
    let key_der = key_der.map_err(|error| TlsError::new(key, error))?;
    Ok((chain, key_der))
}

/// The certificates of a PEM file, one or more.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::new(file, error);
    let read = CertificateDer::pem_file_iter(file).map_err(wrong)?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(wrong)?;
    if chain.is_empty() {
        return Err(TlsError::new(file, "there is no certificate in it"));
    }
    Ok(chain)
}

fn check_times(
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<(), TlsError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| TlsError::new(path, error))?;
    let validity = parsed.validity();
    let ends = validity.not_after.timestamp();
    if now.seconds() > ends {
        let text = format!("it ended at {}\nhint: renew it", validity.not_after);
        return Err(TlsError::new(path, text));
    }
    if now.seconds() < validity.not_before.timestamp() {
        let text = format!(
            "it begins at {}\nhint: is the machine's clock right?",
            validity.not_before
        );
        return Err(TlsError::new(path, text));
    }
    if ends - now.seconds() < SOON {
        tracing::warn!(certificate = %path.display(), ends = %validity.not_after, "a certificate ends soon");
    }
    Ok(())
}
