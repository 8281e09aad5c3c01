//! What the calls answer: XML as the API reference of AWS STS shows it.

use hyper::header;
use hyper::http::StatusCode;
use s3s::{Body, S3Error, S3ErrorCode, S3Response, S3Result};
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::token::Claims;
use crate::keys::AccessKey;
use crate::policy::{ACCOUNT, Principal};

/// A new session's keys.
pub(super) struct Given {
    pub(super) key: AccessKey,
    pub(super) token: SecretString,
    pub(super) ends: OffsetDateTime,
}

/// Who somebody is in a role's session.
pub(super) struct RoleUser {
    pub(super) arn: String,
    /// The session's name.
    pub(super) session: String,
    id: String,
}

impl RoleUser {
    /// From the role's ARN and the name that the session is given: 2 to 64 letters, digits and
    /// `_+=,.@-` (API reference of AssumeRole).
    pub(super) fn of(role: &str, name: &str) -> S3Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        if !(2..=64).contains(&name.len()) || !name.chars().all(plain) {
            let text = "RoleSessionName must be 2 to 64 letters, digits and _+=,.@-";
            return Err(invalid(text));
        }
        // The session's ARN has the role's name and not its path.
        let role = role.rsplit('/').next().unwrap_or(role);
        Ok(Self {
            arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"),
            session: name.to_owned(),
            id: format!("AROA{}:{name}", role.to_uppercase()),
        })
    }

    /// Who it is to policies, as a session of the role with this ARN.
    pub(super) fn principal(&self, role: &str) -> Principal {
        Principal {
            session: Some(self.arn.clone()),
            ..Principal::named(role.to_owned())
        }
    }
}

/// A parameter that cannot be taken.
pub(super) fn invalid(text: &str) -> S3Error {
    custom("ValidationError", StatusCode::BAD_REQUEST, text)
}

/// A refusal with a code that S3 does not know.
pub(super) fn custom(code: &str, status: StatusCode, text: &str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), text.to_owned());
    error.set_status_code(status);
    error
}

pub(super) fn session_token(given: &Given) -> S3Result<String> {
    Ok(document("GetSessionToken", &credentials(given)?))
}

pub(super) fn assume_role(given: &Given, user: &RoleUser) -> S3Result<String> {
    let result = credentials(given)? + &role_user(user);
    Ok(document("AssumeRole", &result))
}

pub(super) fn web_identity(given: &Given, user: &RoleUser, claims: &Claims) -> S3Result<String> {
    let result = credentials(given)?
        + &role_user(user)
        + &element("SubjectFromWebIdentityToken", &claims.subject)
        + &element("Provider", &claims.issuer)
        + &element("Audience", &claims.audiences.join(","));
    Ok(document("AssumeRoleWithWebIdentity", &result))
}

pub(super) fn caller_identity(arn: &str, id: &str) -> String {
    let result = element("Arn", arn) + &element("UserId", id) + &element("Account", ACCOUNT);
    document("GetCallerIdentity", &result)
}

/// A call's answer.
pub(super) fn response(document: String) -> S3Response<Body> {
    let mut answer = S3Response::new(Body::from(document));
    let kind = header::HeaderValue::from_static("text/xml");
    answer.headers.insert(header::CONTENT_TYPE, kind);
    answer
}

/// A refusal in the form of AWS's query protocol, which is not S3's.
pub(super) fn refusal(error: &S3Error) -> S3Response<Body> {
    let status = error
        .status_code()
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let sender = if status.is_client_error() {
        "Sender"
    } else {
        "Receiver"
    };
    let said = element("Type", sender)
        + &element("Code", error.code().as_str())
        + &element("Message", error.message().unwrap_or_default());
    let document = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error>{said}</Error>{}</ErrorResponse>",
        element("RequestId", &request_id())
    );
    let mut answer = response(document);
    answer.status = Some(status);
    answer
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

fn document(call: &str, result: &str) -> String {
    format!(
        "<{call}Response xmlns=\"{NAMESPACE}\"><{call}Result>{result}</{call}Result>\
         <ResponseMetadata>{}</ResponseMetadata></{call}Response>",
        element("RequestId", &request_id())
    )
}

fn credentials(given: &Given) -> S3Result<String> {
    let ends = given
        .ends
        .format(&Rfc3339)
        .map_err(S3Error::internal_error)?;
    let all = element("AccessKeyId", &given.key.id)
        + &element("SecretAccessKey", given.key.secret.expose_secret())
        + &element("SessionToken", given.token.expose_secret())
        + &element("Expiration", &ends);
    Ok(format!("<Credentials>{all}</Credentials>"))
}

fn role_user(user: &RoleUser) -> String {
    let inner = element("Arn", &user.arn) + &element("AssumedRoleId", &user.id);
    format!("<AssumedRoleUser>{inner}</AssumedRoleUser>")
}

/// Text in an element. What markup means is taken from it, and what XML cannot have is left
/// out (XML 1.0, section 2.2).
fn element(name: &str, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    format!("<{name}>{escaped}</{name}>")
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
