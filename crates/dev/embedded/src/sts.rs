//! Of AWS's Security Token Service: GetSessionToken, AssumeRole, AssumeRoleWithWebIdentity and
//! GetCallerIdentity. Each of the first three gives a key that ends by itself.
//!
//! A session of GetSessionToken may do what its parent may, the session of a role what the
//! role's policy says. Roles and identity providers are IAM's, or in `sts.json` with the MFA
//! devices, described in [`settings`]. Sessions live in memory: they end with their time, with
//! the key that they were made with, and with the server; a session of a role of IAM may at
//! each moment what the role may then.
//!
//! A web identity token may carry session tags ([`tags`]). They are the session's, for
//! `${aws:PrincipalTag/KEY}` in policies, where the role's trust policy allows
//! `sts:TagSession` beside `sts:AssumeRoleWithWebIdentity`.

mod answer;
mod form;
mod mfa;
mod settings;
mod tags;
mod token;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, Uri, header};
use parking_lot::Mutex;
use s3s::auth::SecretKey;
use s3s::route::S3Route;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result, s3_error};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use self::answer::{Given, RoleUser};
use self::form::Form;
use self::mfa::UsedCodes;
use self::settings::{Role, Settings};
use self::token::Claims;
use crate::iam;
use crate::keys::{AccessKey, Keys, KeysError};
use crate::policy::{ACCOUNT, Policy, Principal, Request};

pub use settings::FILE;

/// The sessions of a running store.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<String, Session>>,
}

/// What a session may do.
#[derive(Clone)]
pub(crate) enum Rights {
    /// What this key may.
    Of(String),
    /// What a role may.
    Role(RoleSession),
}

/// A role that somebody has assumed.
#[derive(Clone)]
pub(crate) struct RoleSession {
    pub(crate) rights: RoleRights,
    /// The key that assumed it, where a key did: the session ends with it.
    pub(crate) parent: Option<String>,
    pub(crate) principal: Arc<Principal>,
}

/// What a role may.
#[derive(Clone)]
pub(crate) enum RoleRights {
    /// What `sts.json` said when it was assumed.
    Fixed(Arc<Policy>),
    /// What the role of IAM with this unique id may now.
    Of(String),
}

/// The calls, as a route beside S3's.
pub(crate) struct Sts {
    sessions: Arc<Sessions>,
    keys: Arc<Keys>,
    settings: settings::Place,
    used_codes: UsedCodes,
}

struct Session {
    secret: SecretString,
    token: SecretString,
    /// Whose session it is, as GetCallerIdentity says.
    arn: String,
    rights: Rights,
    ends: OffsetDateTime,
}

/// A role as a token may assume it.
struct Assumable {
    rights: RoleRights,
    max_seconds: i64,
}

/// What AWS grants (API reference of GetSessionToken), but for the least time, which is 15
/// minutes there: tests would wait too long for an end.
const LENGTHS: std::ops::RangeInclusive<i64> = 1..=129_600;
const DEFAULT_LENGTH: i64 = 43_200;
/// A role's session, where the form does not say (API reference of AssumeRole).
const ROLE_LENGTH: i64 = 3_600;

/// No form of ours is longer; a provider's token takes the most of it.
const FORM_LIMIT: usize = 32 * 1024;

const TOKEN_HEADER: &str = "x-amz-security-token";

impl Sessions {
    /// The secret of a session's key; `None` where there is no such session.
    pub(crate) fn secret(&self, id: &str) -> Option<SecretKey> {
        let sessions = self.by_id.lock();
        let session = sessions.get(id)?;
        Some(SecretKey::from(session.secret.expose_secret()))
    }

    /// What a session may do, where the request has the session's token and the session has
    /// not ended; `None` where the key is no session's.
    pub(crate) fn rights(&self, id: &str, headers: &HeaderMap) -> S3Result<Option<Rights>> {
        self.checked(id, headers, OffsetDateTime::now_utc(), |session| {
            session.rights.clone()
        })
    }

    fn checked<T>(
        &self,
        id: &str,
        headers: &HeaderMap,
        now: OffsetDateTime,
        look: impl FnOnce(&Session) -> T,
    ) -> S3Result<Option<T>> {
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
        if session.ends <= now {
            return Err(s3_error!(ExpiredToken, "The provided token has expired."));
        }
        Ok(Some(look(session)))
    }

    /// A new session; those that have ended are forgotten on the way.
    fn begin(&self, arn: String, rights: Rights, now: OffsetDateTime, length: Duration) -> Given {
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
                arn,
                rights,
                ends,
            },
        );
        Given { key, token, ends }
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

    /// One of the calls comes without a signature: each looks for itself.
    async fn check_access(&self, _: &mut S3Request<Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        match self.answer(request, OffsetDateTime::now_utc()).await {
            Ok(document) => Ok(answer::response(document)),
            Err(error) => Ok(answer::refusal(&error)),
        }
    }
}

impl Sts {
    /// The calls on these sessions, with the settings in a data folder.
    pub(crate) fn new(sessions: Arc<Sessions>, keys: Arc<Keys>, data: &Path) -> Self {
        Self {
            sessions,
            keys,
            settings: settings::Place::in_folder(data),
            used_codes: UsedCodes::default(),
        }
    }

    async fn answer(&self, mut request: S3Request<Body>, now: OffsetDateTime) -> S3Result<String> {
        let body = request.input.store_all_limited(FORM_LIMIT).await;
        let body = body.map_err(|_| s3_error!(InvalidRequest, "the form is too long"))?;
        let form = Form::read(&body)?;
        match form.need("Action")? {
            "GetSessionToken" => self.session_token(&request, &form, now),
            "AssumeRole" => self.assume_role(&request, &form, now),
            "AssumeRoleWithWebIdentity" => self.web_identity(&form, now).await,
            "GetCallerIdentity" => self.caller_identity(&request, now),
            other => Err(s3_error!(
                NotImplemented,
                "this store's STS does not have {other}"
            )),
        }
    }

    fn session_token(
        &self,
        request: &S3Request<Body>,
        form: &Form,
        now: OffsetDateTime,
    ) -> S3Result<String> {
        let caller = self.long_lived(request, "GetSessionToken")?;
        if form.field("SerialNumber").is_some() {
            let settings = self.settings.load()?;
            self.check_code(&settings, form, now)?;
        }
        let length = length(form, DEFAULT_LENGTH, *LENGTHS.end())?;
        let rights = Rights::Of(caller.clone());
        let given = self.sessions.begin(user_arn(&caller), rights, now, length);
        answer::session_token(&given)
    }

    fn assume_role(
        &self,
        request: &S3Request<Body>,
        form: &Form,
        now: OffsetDateTime,
    ) -> S3Result<String> {
        let caller = self.long_lived(request, "AssumeRole")?;
        let settings = self.settings.load()?;
        let arn = form.need("RoleArn")?;
        let user = RoleUser::of(arn, form.need("RoleSessionName")?)?;
        refuse_narrowing(form)?;
        let has_code = form.field("SerialNumber").is_some();
        let trusted = |role: &&Role| role.trusts_key(&caller, form.field("ExternalId"), has_code);
        let role = settings.role(arn).filter(trusted);
        let role = role.ok_or_else(|| not_trusted(&user_arn(&caller), "AssumeRole", arn))?;
        if has_code {
            self.check_code(&settings, form, now)?;
        }
        let length = length(form, ROLE_LENGTH.min(role.max_seconds), role.max_seconds)?;
        let rights = Rights::Role(RoleSession {
            rights: RoleRights::Fixed(role.policy()?),
            parent: Some(caller),
            principal: Arc::new(user.principal(arn)),
        });
        let given = self.sessions.begin(user.arn.clone(), rights, now, length);
        answer::assume_role(&given, &user)
    }

    async fn web_identity(&self, form: &Form, now: OffsetDateTime) -> S3Result<String> {
        let settings = self.settings.load()?;
        let arn = form.need("RoleArn")?;
        let user = RoleUser::of(arn, form.need("RoleSessionName")?)?;
        refuse_narrowing(form)?;
        let token = form.need("WebIdentityToken")?;
        let directory = self.keys.directory().map_err(unusable)?;
        let claims = token::verified(token, &settings, &directory, now).await?;
        let role = self.assumable(&settings, &directory, arn, &claims, &user)?;
        let length = length(form, ROLE_LENGTH.min(role.max_seconds), role.max_seconds)?;
        let principal = Principal {
            tags: claims.tags.clone(),
            ..user.principal(arn)
        };
        let rights = Rights::Role(RoleSession {
            rights: role.rights,
            parent: None,
            principal: Arc::new(principal),
        });
        let given = self.sessions.begin(user.arn.clone(), rights, now, length);
        answer::web_identity(&given, &user, &claims)
    }

    /// The role of this ARN, where it trusts whoever has the verified token. A role of IAM
    /// goes before one of `sts.json`.
    fn assumable(
        &self,
        settings: &Settings,
        directory: &iam::Directory,
        arn: &str,
        claims: &Claims,
        user: &RoleUser,
    ) -> S3Result<Assumable> {
        let refused = || not_trusted(&claims.subject, "AssumeRoleWithWebIdentity", arn);
        if let Some((_, role)) = directory.role_of(arn) {
            let trust = role
                .trust()
                .map_err(|e| settings::unusable(&e.to_string()))?;
            let allows = |action| trust.allows(&trust_request(action, claims, user));
            if !allows("sts:AssumeRoleWithWebIdentity") {
                return Err(refused());
            }
            if !claims.tags.is_empty() && !allows("sts:TagSession") {
                return Err(not_trusted(&claims.subject, "TagSession", arn));
            }
            return Ok(Assumable {
                rights: RoleRights::Of(role.id.clone()),
                max_seconds: role.max_seconds,
            });
        }
        let role = settings.role(arn).filter(|role| role.trusts_token(claims));
        let role = role.ok_or_else(refused)?;
        Ok(Assumable {
            rights: RoleRights::Fixed(role.policy()?),
            max_seconds: role.max_seconds,
        })
    }

    fn caller_identity(&self, request: &S3Request<Body>, now: OffsetDateTime) -> S3Result<String> {
        let id = signer(request)?;
        let look = |session: &Session| (session.arn.clone(), session.rights.clone());
        let Some((arn, rights)) = self.sessions.checked(id, &request.headers, now, look)? else {
            return Ok(answer::caller_identity(&user_arn(id), id));
        };
        // A session is nothing without the key that it was made with.
        let parent = match rights {
            Rights::Of(parent) => Some(parent),
            Rights::Role(role) => role.parent,
        };
        let Some(parent) = parent else {
            return Ok(answer::caller_identity(&arn, id));
        };
        let alive = self
            .keys
            .identity(&parent)
            .map_err(S3Error::internal_error)?;
        if alive.is_none() {
            let text = "the key that the session was made with is gone";
            return Err(s3_error!(InvalidToken, "{text}"));
        }
        Ok(answer::caller_identity(&arn, id))
    }

    /// The long-lived key that has signed.
    fn long_lived(&self, request: &S3Request<Body>, call: &str) -> S3Result<String> {
        let id = signer(request)?;
        if self.sessions.rights(id, &request.headers)?.is_some() {
            let text = format!("Cannot call {call} with session credentials");
            return Err(s3_error!(AccessDenied, "{text}"));
        }
        Ok(id.to_owned())
    }

    fn check_code(&self, settings: &Settings, form: &Form, now: OffsetDateTime) -> S3Result<()> {
        let serial = form.need("SerialNumber")?;
        let code = form.field("TokenCode").unwrap_or_default();
        let device = settings.device(serial);
        let good = device.is_some_and(|device| self.used_codes.accept(device, code, now));
        match good {
            true => Ok(()),
            false => Err(s3_error!(
                AccessDenied,
                "MultiFactorAuthentication failed with invalid MFA one time pass code."
            )),
        }
    }
}

fn signer(request: &S3Request<Body>) -> S3Result<&str> {
    let signed = request.credentials.as_ref();
    let signed = signed.ok_or_else(|| s3_error!(AccessDenied, "the request is not signed"))?;
    Ok(&signed.access_key)
}

/// How long the session shall last.
fn length(form: &Form, usual: i64, most: i64) -> S3Result<Duration> {
    let seconds = form.field("DurationSeconds").map(str::parse).transpose();
    let seconds = seconds.ok().map(|given| given.unwrap_or(usual));
    seconds
        .filter(|seconds| (*LENGTHS.start()..=most).contains(seconds))
        .map(Duration::seconds)
        .ok_or_else(|| answer::invalid("DurationSeconds is out of bounds"))
}

/// What a role's trust policy is asked.
fn trust_request<'a>(action: &'a str, claims: &Claims, user: &RoleUser) -> Request<'a> {
    let issuer = iam::short(&claims.issuer);
    let mut token = vec![
        (
            format!("{issuer}:sub").to_lowercase(),
            claims.subject.clone(),
        ),
        ("sts:rolesessionname".into(), user.session.clone()),
    ];
    // Of several audiences, none is the token's.
    if let [audience] = &claims.audiences[..] {
        token.push((format!("{issuer}:aud").to_lowercase(), audience.clone()));
    }
    let tags = claims.tags.iter();
    token.extend(tags.map(|(key, value)| (format!("aws:requesttag/{key}"), value.clone())));
    Request {
        action,
        principal: Some(Arc::new(Principal::named(iam::provider_arn(
            &claims.issuer,
        )))),
        token,
        ..Request::default()
    }
}

/// A session policy would take rights away from the session, and tags of the call would give
/// it some: neither is here, and neither may be skipped.
fn refuse_narrowing(form: &Form) -> S3Result<()> {
    let parameter = ["Policy", "PolicyArns", "Tags", "TransitiveTagKeys"];
    let given = parameter.into_iter().find(|name| form.mentions(name));
    match given {
        None => Ok(()),
        Some(name) => Err(s3_error!(
            NotImplemented,
            "this store's STS does not know the parameter {name}"
        )),
    }
}

fn unusable(error: KeysError) -> S3Error {
    tracing::error!(%error, "the keys cannot be used");
    S3Error::internal_error(error)
}

fn user_arn(id: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{id}")
}

fn not_trusted(who: &str, call: &str, arn: &str) -> S3Error {
    s3_error!(
        AccessDenied,
        "User: {who} is not authorized to perform: sts:{call} on resource: {arn}"
    )
}
