//! What a ticket says of itself. Only its server can tell whether it counts.

use credentials::Endpoint;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The orchestrator that a ticket (a JWT, RFC 7519) names as its issuer; `None` for a text
/// that is none.
pub fn issuer(ticket: &SecretString) -> Option<Endpoint> {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let mut parts = ticket.expose_secret().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&bytes).ok()?;
    claims.iss.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_its_server() {
        let payload = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
        let ticket = |text: &str| SecretString::from(format!("h.{}.s", payload(text)));
        let found = issuer(&ticket(r#"{"iss":"https://a.example","x":1}"#));
        assert_eq!(
            found.map(|url| url.to_string()).as_deref(),
            Some("https://a.example")
        );
        for bad in [
            "{}",
            r#"{"iss":"file:///etc"}"#,
            r#"{"iss":"https://u:p@a"}"#,
        ] {
            assert_eq!(issuer(&ticket(bad)), None, "{bad}");
        }
        assert_eq!(issuer(&SecretString::from("art_x")), None);
    }
}
