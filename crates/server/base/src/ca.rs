//! A certificate authority of one's own, for the servers of one installation among themselves.
//!
//! A folder with `ca.pem` (for everyone) and `ca-key.pem` (for whoever issues). What it issues
//! names a role as `spiffe://TRUST-DOMAIN/ROLE`, and the names and addresses that a server is
//! reached by. A certificate without names cannot be used by a server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key_file::{self, KeyError, Pkcs8};
use crate::peer::{self, TrustDomain};
use crate::tls::{TlsError, certificates};

/// How long an authority lasts.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Clocks of machines differ by less.
const SKEW: Duration = Duration::from_secs(300);

/// Why the authority does not issue.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// It is of another installation.
    #[error("{} is the authority of {found}, not of {wanted}", path.display())]
    OtherDomain {
        /// Its certificate.
        path: PathBuf,
        /// Its trust domain.
        found: String,
        /// The one that was asked for.
        wanted: TrustDomain,
    },
    /// What was asked for is no certificate.
    #[error("{0}")]
    Order(String),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// An authority that can issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust_domain: TrustDomain,
    certificate: PathBuf,
    ends: i64,
}

/// What to issue.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The role; a certificate of none is only good for TLS.
    pub role: Option<&'a str>,
    /// The DNS names and IP addresses that the server is reached by; none for a client.
    pub names: &'a [String],
    /// For how long.
    pub lifetime: Duration,
}

/// A certificate and its key.
pub struct Issued {
    certificate: String,
    key: Pkcs8,
}

impl Authority {
    /// Opens the authority of a folder, or makes one where there is none.
    ///
    /// # Errors
    /// What is there cannot be used, or nothing can be written.
    pub fn open_or_make(
        folder: &Path,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let certificate = folder.join("ca.pem");
        if !certificate.exists() {
            make(folder, &certificate, trust_domain, now)?;
        }
        let authority = Self::open(folder)?;
        if authority.trust_domain != *trust_domain {
            return Err(CaError::OtherDomain {
                path: certificate,
                found: authority.trust_domain.to_string(),
                wanted: trust_domain.clone(),
            });
        }
        Ok(authority)
    }

    /// Opens the authority of a folder.
    ///
    /// # Errors
    /// It is not there or cannot be used.
    pub fn open(folder: &Path) -> Result<Self, CaError> {
        let path = folder.join("ca.pem");
        let wrong = |reason: &str| TlsError::new(&path, reason);
        let certificate = certificates(&path)?.swap_remove(0);
        let key = key_pair(&key_file::read(&folder.join("ca-key.pem"))?)
            .ok_or_else(|| KeyError::Form(folder.join("ca-key.pem")))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| wrong("it is no certificate"))?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(wrong("ca-key.pem is not its key").into());
        }
        let trust_domain = domain_of(&parsed).ok_or_else(|| wrong("it names no trust domain"))?;
        let ends = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            issuer,
            trust_domain,
            certificate: path,
            ends,
        })
    }

    /// Its certificate's file.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// A role or name that is none, or a time beyond the authority's own end.
    pub fn issue(&self, order: &Order<'_>, now: Timestamp) -> Result<Issued, CaError> {
        let ends = now.plus(order.lifetime);
        if ends.seconds() > self.ends {
            let text = "the certificate would outlive its authority\nhint: a shorter time, or a new authority";
            return Err(CaError::Order(text.to_owned()));
        }
        let mut names = Vec::new();
        if let Some(role) = order.role {
            if !peer::is_role(role) {
                let text = format!("{role} is no role\nhint: 1 to 32 of a-z, 0-9 and '-'");
                return Err(CaError::Order(text));
            }
            names.push(SanType::URI(text(self.trust_domain.name_of(role))?));
        }
        for name in order.names {
            names.push(subject(name)?);
        }
        let mut params = params(order.role.unwrap_or("server"), now, ends)?;
        params.subject_alt_names = names;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages(order);
        let key = new_key()?;
        let pair = key_pair(&key).ok_or_else(|| failed("the new key cannot be used"))?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(failed)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key,
        })
    }
}

fn usages(order: &Order<'_>) -> Vec<ExtendedKeyUsagePurpose> {
    let mut usages = Vec::new();
    if order.role.is_some() {
        usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    if !order.names.is_empty() {
        usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    usages
}

impl Issued {
    /// The certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Writes the key (mode 0600) and the certificate, each whole or not at all. What is there
    /// is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, certificate: &Path, key: &Path) -> Result<(), CaError> {
        replace(key, key_file::pem(&self.key).as_bytes(), 0o600)?;
        replace(certificate, self.certificate.as_bytes(), 0o644)
    }
}

fn make(
    folder: &Path,
    certificate: &Path,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<(), CaError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| CaError::Io { path, source }
    };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(wrong(folder))?;
    // Of two that begin at the same time one makes the key; both certificates would be its.
    let key = folder.join("ca-key.pem");
    let pair = key_pair(&key_file::read_or_make(&key)?).ok_or(KeyError::Form(key))?;
    let mut params = params(
        &format!("Artifacts {trust_domain}"),
        now,
        now.plus(LIFETIME),
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(text(format!("spiffe://{trust_domain}"))?)];
    let pem = params.self_signed(&pair).map_err(failed)?.pem();
    key_file::write_once(certificate, pem.as_bytes(), 0o644).map_err(wrong(certificate))
}

fn params(name: &str, now: Timestamp, ends: Timestamp) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = moment(now.minus(SKEW))?;
    params.not_after = moment(ends)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn moment(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.seconds()).map_err(failed)
}

fn domain_of(certificate: &X509Certificate<'_>) -> Option<TrustDomain> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut names = names.value.general_names.iter().filter_map(peer::uri);
    names.next()?.strip_prefix("spiffe://")?.parse().ok()
}

fn subject(name: &str) -> Result<SanType, CaError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(text(name.to_owned())?)),
    }
}

fn text(text: String) -> Result<Ia5String, CaError> {
    let wrong = |_| CaError::Order(format!("{text} cannot be in a certificate"));
    Ia5String::try_from(text.as_str()).map_err(wrong)
}

fn new_key() -> Result<Pkcs8, CaError> {
    key_file::generate().map_err(failed)
}

fn key_pair(der: &Pkcs8) -> Option<KeyPair> {
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).ok()
}

fn failed(error: impl ToString) -> CaError {
    CaError::Order(format!("no certificate was made: {}", error.to_string()))
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), CaError> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&partial);
        CaError::Io {
            path: path.to_owned(),
            source,
        }
    })
}
