//! The one call of AWS's Security Token Service that this store has: GetSessionToken, which
//! gives the holder of a key a second key that ends by itself.
//!
//! Sessions live in memory and may do what their parent may. They end with their time, with
//! their parent, and with the server.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Uri, header};
use parking_lot::Mutex;
use s3s::auth::SecretKey;
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::keys::AccessKey;

/// The sessions of a running store.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<String, Session>>,
}

/// The call, as a route beside S3's.
pub(crate) struct Sts(pub(crate) Arc<Sessions>);

struct Session {
    secret: SecretString,
    token: SecretString,
    /// The access key id that it was made with.
    parent: String,
    ends: OffsetDateTime,
}

/// What AWS grants (API reference of GetSessionToken), but for the least time, which is 15
/// minutes there: tests would wait too long for an end.
const LENGTHS: std::ops::RangeInclusive<i64> = 1..=129_600;
const DEFAULT_LENGTH: i64 = 43_200;

/// No form of ours is longer.
const FORM_LIMIT: usize = 8 * 1024;

const TOKEN_HEADER: &str = "x-amz-security-token";

impl Sessions {
    /// The secret of a session's key; `None` where there is no such session.
    pub(crate) fn secret(&self, id: &str) -> Option<SecretKey> {
        let sessions = self.by_id.lock();
        let session = sessions.get(id)?;
        Some(SecretKey::from(session.secret.expose_secret()))
    }

    /// The key that a session stands for, where the request has the session's token and the
    /// session has not ended; `None` where the key is no session's.
    pub(crate) fn parent(&self, id: &str, headers: &HeaderMap) -> S3Result<Option<String>> {
        let sessions = self.by_id.lock();
        let Some(session) = sessions.get(id) else {
            return Ok(None);
        };
        let given = headers.get(TOKEN_HEADER).map_or(&[][..], |v| v.as_bytes());
        let token = session.token.expose_secret().as_bytes();
        if !bool::from(given.ct_eq(token)) {
            let text = "The provided token is malformed or otherwise invalid.";
            return Err(s3_error!(InvalidToken, "{text}"));
        }
        if session.ends <= OffsetDateTime::now_utc() {
            return Err(s3_error!(ExpiredToken, "The provided token has expired."));
        }
        Ok(Some(session.parent.clone()))
    }

    /// A new session; those that have ended are forgotten on the way.
    fn begin(&self, parent: &str, length: Duration) -> (AccessKey, SecretString, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let (key, ends) = (AccessKey::random(), now + length);
        let token = AccessKey::random().secret;
        let mut sessions = self.by_id.lock();
        // An hour longer, so that "expired" can be told from "never was".
        sessions.retain(|_, session| session.ends + Duration::HOUR > now);
        sessions.insert(
            key.id.clone(),
            Session {
                secret: key.secret.clone(),
                token: token.clone(),
                parent: parent.to_owned(),
                ends,
            },
        );
        (key, token, ends)
    }
}

#[async_trait]
impl S3Route for Sts {
    fn is_match(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        _: &mut Extensions,
    ) -> bool {
        let kind = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes());
        method == Method::POST
            && uri.path() == "/"
            && kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded"))
    }

    async fn call(&self, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let caller = request.credentials.as_ref();
        let caller = caller.ok_or_else(|| s3_error!(AccessDenied, "the request is not signed"))?;
        let parent = caller.access_key.clone();
        if self.0.parent(&parent, &request.headers)?.is_some() {
            let text = "Cannot call GetSessionToken with session credentials";
            return Err(s3_error!(AccessDenied, "{text}"));
        }
        let body = request.input.store_all_limited(FORM_LIMIT).await;
        let body = body.map_err(|_| s3_error!(InvalidRequest, "the form is too long"))?;
        let length = read_form(&body)?;
        let (key, token, ends) = self.0.begin(&parent, length);
        let mut answer = S3Response::new(Body::from(document(&key, &token, ends)?));
        let kind = header::HeaderValue::from_static("text/xml");
        answer.headers.insert(header::CONTENT_TYPE, kind);
        Ok(answer)
    }
}

/// How long the session shall last.
fn read_form(body: &[u8]) -> S3Result<Duration> {
    let text = std::str::from_utf8(body).map_err(|_| s3_error!(InvalidRequest))?;
    let field = |wanted: &str| {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| value)
    };
    if field("Action") != Some("GetSessionToken") {
        return Err(s3_error!(
            NotImplemented,
            "this store's STS has GetSessionToken only"
        ));
    }
    if field("SerialNumber").is_some() {
        return Err(s3_error!(AccessDenied, "this store has no MFA devices"));
    }
    let seconds = field("DurationSeconds").map(str::parse).transpose();
    let seconds = seconds.ok().map(|given| given.unwrap_or(DEFAULT_LENGTH));
    seconds
        .filter(|seconds| LENGTHS.contains(seconds))
        .map(Duration::seconds)
        .ok_or_else(|| s3_error!(InvalidArgument, "DurationSeconds is out of bounds"))
}

/// The answer (API reference of GetSessionToken). Keys and tokens are letters and digits.
fn document(key: &AccessKey, token: &SecretString, ends: OffsetDateTime) -> S3Result<String> {
    let ends = ends
        .format(&Rfc3339)
        .map_err(s3s::S3Error::internal_error)?;
    Ok(format!(
        "<GetSessionTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetSessionTokenResult><Credentials><AccessKeyId>{}</AccessKeyId>\
         <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{ends}</Expiration></Credentials></GetSessionTokenResult>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetSessionTokenResponse>",
        key.id,
        key.secret.expose_secret(),
        token.expose_secret(),
        uuid::Uuid::new_v4(),
    ))
}
