//! Signature Version 4 of a form that was posted to `/`.
//!
//! Source: IAM User Guide, "Create a signed AWS API request".

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::refusal::Refusal;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request may be this much older or newer than the clock.
const SKEW: Duration = Duration::minutes(15);

const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// What a request says of who signed it, before that is believed.
pub(super) struct Claim {
    access_key_id: String,
    /// `20260102`
    day: String,
    region: String,
    signed_headers: String,
    signature: String,
    stamp: String,
    time: OffsetDateTime,
}

/// Whether the header is of a request to IAM.
pub(super) fn is_for_iam(authorization: &[u8]) -> bool {
    let text = std::str::from_utf8(authorization).unwrap_or_default();
    text.starts_with(ALGORITHM) && text.contains("/iam/aws4_request")
}

impl Claim {
    /// Reads the headers; a request of another time is refused.
    pub(super) fn read(head: &Parts, now: OffsetDateTime) -> Result<Self, Refusal> {
        let claim = Self::parse(head).ok_or_else(|| {
            Refusal::incomplete_signature("the Authorization or X-Amz-Date header is malformed")
        })?;
        let signed = |name: &str| claim.signed_headers.split(';').any(|header| header == name);
        if !(signed("host") && signed("x-amz-date")) {
            let message = "host and x-amz-date must be signed";
            return Err(Refusal::incomplete_signature(message));
        }
        if (now - claim.time).abs() > SKEW {
            let message = "Signature expired: the request's time is not this store's";
            return Err(Refusal::wrong_signature(message));
        }
        Ok(claim)
    }

    pub(super) fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Whether the holder of the secret made exactly this request.
    pub(super) fn check(
        &self,
        head: &Parts,
        body: &[u8],
        secret: &SecretString,
    ) -> Result<(), Refusal> {
        let wrong = || {
            Refusal::wrong_signature(
                "The request signature we calculated does not match the signature you provided.",
            )
        };
        let request = self.canonical_request(head, body).ok_or_else(wrong)?;
        let scope = format!("{}/{}/iam/aws4_request", self.day, self.region);
        let digest = hex::encode(Sha256::digest(request));
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{digest}", self.stamp);
        let secret = secret.expose_secret();
        let key = aws_sigv4::sign::v4::generate_signing_key(
            secret,
            self.time.into(),
            &self.region,
            "iam",
        );
        let expected = aws_sigv4::sign::v4::calculate_signature(key, text.as_bytes());
        let equal = expected.as_bytes().ct_eq(self.signature.as_bytes());
        bool::from(equal).then_some(()).ok_or_else(wrong)
    }

    /// `None` where a header that was signed is missing. Whatever a header says of the
    /// body's hash, it is the body that counts.
    fn canonical_request(&self, head: &Parts, body: &[u8]) -> Option<String> {
        let mut headers = String::new();
        for name in self.signed_headers.split(';') {
            let mut values = Vec::new();
            for value in head.headers.get_all(name) {
                let words: Vec<_> = value.to_str().ok()?.split_whitespace().collect();
                values.push(words.join(" "));
            }
            if values.is_empty() {
                return None;
            }
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let query = head.uri.query().unwrap_or_default();
        let digest = hex::encode(Sha256::digest(body));
        let signed = &self.signed_headers;
        query
            .is_empty()
            .then(|| format!("POST\n/\n\n{headers}\n{signed}\n{digest}"))
    }

    /// `AWS4-HMAC-SHA256 Credential=ID/20260102/REGION/iam/aws4_request,
    /// SignedHeaders=host;x-amz-date, Signature=…`
    fn parse(head: &Parts) -> Option<Self> {
        let text = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let parts = text.strip_prefix(ALGORITHM)?.split(',');
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in parts {
            match part.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value.to_owned()),
                ("Signature", value) => signature = Some(value.to_owned()),
                _ => return None,
            }
        }
        let scope: Vec<_> = credential?.split('/').collect();
        let [id, day, region, "iam", "aws4_request"] = scope[..] else {
            return None;
        };
        let stamp = head.headers.get("x-amz-date")?.to_str().ok()?;
        let time = PrimitiveDateTime::parse(stamp, STAMP).ok()?.assume_utc();
        Some(Self {
            access_key_id: id.to_owned(),
            day: stamp.get(..8).filter(|begin| *begin == day)?.to_owned(),
            region: region.to_owned(),
            signed_headers: signed_headers?,
            signature: signature?,
            stamp: stamp.to_owned(),
            time,
        })
    }
}
