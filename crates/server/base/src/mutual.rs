//! Calling another role over mTLS: our certificate is shown, one authority is trusted, and the
//! server must have the role that is meant, not only a name on the network.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::peer::TrustDomain;
use crate::reload::Reloaded;
use crate::tls::{TlsError, chain_and_key, provider, roots};

/// A server of ours that does not take a connection in this time is away.
const CONNECT: Duration = Duration::from_secs(5);

/// Who we are to other roles, and whom we believe, as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The authorities.
    pub ca: PathBuf,
    /// Our chain, our own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// What the names in certificates begin with.
    pub trust_domain: TrustDomain,
}

/// What a client of servers of a role is built of. It follows no redirect, takes no proxy from
/// the environment, and reads our certificate again when its files change.
///
/// # Errors
/// A file that cannot be used.
pub fn client(identity: &Identity, server_role: &str) -> Result<reqwest::ClientBuilder, TlsError> {
    let config = config(identity, server_role)?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true))
}

fn config(identity: &Identity, server_role: &str) -> Result<ClientConfig, TlsError> {
    let wrong = |error: String| TlsError::new(&identity.ca, error);
    let roots = Arc::new(roots(&identity.ca)?);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let verifier = OfRole {
        inner: inner.map_err(|error| wrong(error.to_string()))?,
        trust_domain: identity.trust_domain.clone(),
        role: server_role.to_owned(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| wrong(error.to_string()))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Ours::new(identity)?));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual verification (authority, times, the name that was connected to), and the role.
#[derive(Debug)]
struct OfRole {
    inner: Arc<WebPkiServerVerifier>,
    trust_domain: TrustDomain,
    role: String,
}

impl ServerCertVerifier for OfRole {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let role = self.trust_domain.role_in(end_entity);
        if role.as_deref() == Some(&self.role) {
            return Ok(verified);
        }
        tracing::warn!(wanted = self.role, ?role, "a server has another role");
        let refused = CertificateError::ApplicationVerificationFailure;
        Err(Error::InvalidCertificate(refused))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Our certificate, as its files are when a connection begins.
struct Ours {
    identity: Identity,
    key: Reloaded<CertifiedKey>,
}

impl Ours {
    fn new(identity: &Identity) -> Result<Self, TlsError> {
        let files = vec![identity.certificate.clone(), identity.key.clone()];
        let key = Reloaded::new(files, || load(identity))?;
        let identity = identity.clone();
        Ok(Self { identity, key })
    }
}

fn load(identity: &Identity) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = chain_and_key(&identity.certificate, &identity.key)?;
    let key = CertifiedKey::from_der(chain, key, &provider());
    key.map_err(|error| TlsError::new(&identity.certificate, error))
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key.get(|| load(&self.identity)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ours")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
