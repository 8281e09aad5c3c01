//! Who is at the other end of a connection: over mTLS, a role.
//!
//! A peer's certificate has one name `spiffe://TRUST-DOMAIN/ROLE` (a URI among its subject
//! alternative names). Another trust domain, more than one such name, or none is no role; so is
//! a certificate that has ended since its connection began.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Failure;
use crate::clock::Clock;

/// What the names of an installation's peers begin with: `spiffe://THIS/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain(String);

/// Why a text is no trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trust domain is 1 to 200 of a-z, 0-9, '.', '-' and '_'")]
pub struct InvalidTrustDomain;

/// The role that a request's peer has proved to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRole(pub Option<String>);

/// A request's peer, as far as the connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The SHA-256 of its certificate, as 64 hexadecimal digits.
    pub certificate: Option<Arc<str>>,
    /// Whether many clients may come from the address: it is this machine's, or a proxy is in
    /// front, which has the TLS.
    pub is_shared: bool,
}

/// The other end of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    peer: Peer,
    role: Option<Arc<str>>,
    /// When its certificate ends, in seconds since 1970.
    ends: i64,
}

impl TrustDomain {
    /// The name of a role in it.
    pub fn name_of(&self, role: &str) -> String {
        format!("spiffe://{self}/{role}")
    }

    /// The role that a certificate is for. Its signature and times are the caller's to check.
    pub fn role_in(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut names = names.value.general_names.iter().filter_map(uri);
        let (name, None) = (names.next()?, names.next()) else {
            return None;
        };
        let (domain, role) = name.strip_prefix("spiffe://")?.split_once('/')?;
        (domain == self.0 && is_role(role)).then(|| role.to_owned())
    }
}

/// The name, if it is a URI.
pub(crate) fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

/// Whether a text can be a role: 1 to 32 of a-z, 0-9 and `-`.
pub fn is_role(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(good)
}

impl FromStr for TrustDomain {
    type Err = InvalidTrustDomain;

    fn from_str(text: &str) -> Result<Self, InvalidTrustDomain> {
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if (1..=200).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTrustDomain)
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Connection {
    /// Without a certificate.
    pub(crate) fn plain(address: SocketAddr, has_tls: bool) -> Self {
        Self {
            peer: Peer {
                address,
                certificate: None,
                is_shared: !has_tls || address.ip().to_canonical().is_loopback(),
            },
            role: None,
            ends: i64::MAX,
        }
    }

    /// With the certificate that TLS has verified.
    pub(crate) fn mutual(
        address: SocketAddr,
        certificate: &CertificateDer<'_>,
        domain: &TrustDomain,
    ) -> Self {
        let ends = X509Certificate::from_der(certificate).map_or(i64::MIN, |(_, parsed)| {
            parsed.validity().not_after.timestamp()
        });
        let digest = hex::encode(Sha256::digest(certificate));
        Self {
            peer: Peer {
                address,
                certificate: Some(digest.into()),
                is_shared: false,
            },
            role: domain.role_in(certificate).map(Into::into),
            ends,
        }
    }

    /// The other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Puts into a request what is known of its peer at this moment.
    pub(crate) fn mark<B>(&self, request: &mut axum::http::Request<B>, clock: &dyn Clock) {
        let counts = clock.now().seconds() <= self.ends;
        let role = self.role.as_deref().filter(|_| counts).map(str::to_owned);
        let extensions = request.extensions_mut();
        extensions.insert(PeerRole(role));
        extensions.insert(self.peer.clone());
    }
}

impl Peer {
    /// What limits are counted by: the certificate, or the network that the address is of.
    pub fn key(&self) -> String {
        match &self.certificate {
            Some(certificate) => certificate.to_string(),
            None => network(self.address.ip()),
        }
    }

    /// The same, if it is one client's alone: where [`is_shared`](Self::is_shared), a limit by
    /// peer would count all clients as one.
    pub fn own_key(&self) -> Option<String> {
        (!self.is_shared).then(|| self.key())
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

impl PeerRole {
    /// The peer's role, if it is one of these.
    ///
    /// # Errors
    /// 403 that says which roles may.
    pub fn require(&self, allowed: &[&str]) -> Result<&str, Failure> {
        let role = self.0.as_deref();
        if let Some(role) = role.filter(|role| allowed.contains(role)) {
            return Ok(role);
        }
        let seen = match role {
            Some(role) => format!("this is not for the role {role}"),
            None => "the certificate names no role of this trust domain".to_owned(),
        };
        let text = format!("{seen}\nhint: it is for {}", allowed.join(", "));
        Err(Failure::forbidden(text))
    }
}

/// Endpoints for these roles and nobody else.
pub fn only<S: Clone + Send + Sync + 'static>(
    allowed: &'static [&'static str],
    endpoint: MethodRouter<S>,
) -> MethodRouter<S> {
    endpoint.route_layer(from_fn(
        move |role: PeerRole, request: Request, next: Next| async move {
            match role.require(allowed) {
                Ok(_) => next.run(request).await,
                Err(failure) => failure.into_response(),
            }
        },
    ))
}

impl<S: Send + Sync> FromRequestParts<S> for PeerRole {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self(None)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let peer = parts.extensions.get().cloned();
        peer.ok_or_else(|| {
            tracing::error!("a request did not come through a listener");
            Failure::internal()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::Timestamp;
    use axum::body::Body;

    use super::*;
    use crate::ManualClock;

    #[test]
    fn a_role_ends_with_its_certificate_on_a_connection_that_stays() {
        let clock = ManualClock::at(Timestamp::from_micros(1_000_000));
        let connection = Connection {
            role: Some("worker".into()),
            ends: 2,
            ..Connection::plain("127.0.0.1:1".parse().unwrap(), true)
        };
        let role = || {
            let mut request = Request::new(Body::empty());
            connection.mark(&mut request, &clock);
            request.extensions().get::<PeerRole>().unwrap().0.clone()
        };
        assert_eq!(role().as_deref(), Some("worker"));
        clock.advance(Duration::from_secs(1));
        assert_eq!(role().as_deref(), Some("worker"));
        clock.advance(Duration::from_secs(1));
        assert_eq!(role(), None);
    }

    #[test]
    fn a_client_is_counted_as_one_by_all_addresses_that_it_has() {
        let key = |address: &str| {
            let address = SocketAddr::new(address.parse().unwrap(), 1);
            Connection::plain(address, true).peer.key()
        };
        assert_eq!(key("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(key("2001:db8:1:2:ffff::9"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:3::1"), key("2001:db8:1:2::1"));
        assert_eq!(key("192.0.2.7"), "192.0.2.7");
        assert_eq!(key("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(key("192.0.2.8"), key("192.0.2.7"));
    }

    #[test]
    fn clients_behind_one_address_are_not_counted_as_one() {
        let own = |address: &str, has_tls| {
            let address = address.parse().unwrap();
            Connection::plain(address, has_tls).peer.own_key()
        };
        assert_eq!(own("192.0.2.7:1", true).as_deref(), Some("192.0.2.7"));
        assert_eq!(own("192.0.2.7:1", false), None);
        assert_eq!(own("127.0.0.1:1", true), None);
        assert_eq!(own("[::1]:1", true), None);
    }

    #[test]
    fn what_could_be_taken_for_another_name_is_no_domain_and_no_role() {
        for bad in ["", "Town", "a/b", "a b", "a:1", "ä"] {
            assert_eq!(bad.parse::<TrustDomain>(), Err(InvalidTrustDomain), "{bad}");
        }
        for bad in ["", "Worker", "worker/x", "worker ", "a_b"] {
            assert!(!is_role(bad), "{bad}");
        }
    }
}
