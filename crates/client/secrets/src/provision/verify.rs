//! Shows from outside that the isolation holds: with the token of one actor, at the store's
//! own doors.
//!
//! A refusal counts only where the store says `AccessDenied`. A key that is not found, a
//! time-out or a server's failure may hide that the call would have been allowed: it is
//! reported as what it is, and is no pass.

use async_trait::async_trait;
use aws_sdk_s3::config::Credentials;
use model::Actor;
use secrecy::{ExposeSecret, SecretString};

use super::clients::{Admin, s3, sts};
use super::grants;
use super::iam_json::{self, IamJson};
use super::probes::Probes;
use super::report::Report;
use super::target::{StoreKind, Target};
use super::told::Told;
use crate::access::Access;
use crate::error::{Kind, Result, SecretError};

/// Whoever gives web identity tokens of one actor.
#[async_trait]
pub trait Identities: Send + Sync {
    /// Whose.
    fn actor(&self) -> &Actor;

    /// A fresh one.
    ///
    /// # Errors
    /// None could be had.
    async fn token(&self) -> Result<SecretString>;
}

/// The tokens that a broker gives to this machine's login.
pub struct OwnIdentities {
    access: Access,
    actor: Actor,
}

impl OwnIdentities {
    /// Those of the login that counts now.
    ///
    /// # Errors
    /// [`Kind::Login`] where there is none.
    pub async fn of(access: Access) -> Result<Self> {
        let actor = access.login().await?.actor;
        Ok(Self { access, actor })
    }
}

#[async_trait]
impl Identities for OwnIdentities {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    async fn token(&self) -> Result<SecretString> {
        let login = self.access.login().await?;
        let key = self.access.key()?;
        let identity = self.access.broker().web_identity(&login, key).await?;
        Ok(identity.token.expose().to_owned().into())
    }
}

/// Who sees what else is granted beside the plan's documents.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// An administrator, who asks the store for the policies of role and bucket.
    Asked(&'a Admin),
    /// The file that SeaweedFS, which cannot be asked, was started with.
    Read(&'a IamJson),
    /// Nobody: for SeaweedFS alone, and the report says that it was left out.
    Unseen,
}

/// Looks at everything.
///
/// # Errors
/// There is no token, or nobody to ask for the policies.
pub async fn verify(
    target: &Target,
    identities: &dyn Identities,
    seen: Seen<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    let token = identities.token().await?;
    exchange_forged(target, &token, &mut report).await;
    match exchange(target, &token).await {
        Ok(keys) => {
            report.add("a token is exchanged for keys", Ok(()));
            let probes = Probes::new(
                s3(target, Some(keys)),
                s3(target, None),
                target,
                identities.actor(),
            );
            probes.run(&mut report).await;
        }
        Err(told) => report.add("a token is exchanged for keys", Err(told.shown())),
    }
    beside(target, seen, &mut report).await?;
    Ok(report)
}

/// What no call of an actor can show: a role of another name, another policy, another's keys.
async fn beside(target: &Target, seen: Seen<'_>, report: &mut Report) -> Result<()> {
    match (target.kind, seen) {
        (StoreKind::SeaweedFs, Seen::Read(file)) => iam_json::look(file, target, report),
        (StoreKind::SeaweedFs, _) => report.leave_out(
            "no other role, policy or provider grants more",
            "SeaweedFS cannot be asked for them: give the file it was started with, --iam-json FILE",
        ),
        (_, Seen::Asked(admin)) => grants::look(admin, target, report).await,
        (_, Seen::Read(_) | Seen::Unseen) => {
            return Err(SecretError::new(
                Kind::Usage,
                "without an administrator's keys nobody can see what the role has beside",
                "give the keys that --apply used (artifacts storage set, or ARTIFACTS_S3_* variables)",
            ));
        }
    }
    Ok(())
}

async fn exchange(target: &Target, token: &SecretString) -> std::result::Result<Credentials, Told> {
    let answer = sts(target)
        .assume_role_with_web_identity()
        .role_arn(target.role.as_str())
        .role_session_name("artifacts-verify")
        .web_identity_token(token.expose_secret())
        .send()
        .await;
    let told = Told::of(&answer);
    let keys = answer.ok().and_then(|answer| answer.credentials);
    let keys = keys.ok_or(told)?;
    Ok(Credentials::new(
        keys.access_key_id(),
        keys.secret_access_key(),
        Some(keys.session_token().to_owned()),
        None,
        "artifacts",
    ))
}

/// The same token with another signature: whoever takes it believes anything.
async fn exchange_forged(target: &Target, token: &SecretString, report: &mut Report) {
    let name = "a token with a wrong signature is refused";
    let Some(forged) = forged(token) else {
        report.add(name, Err("the broker's token is no JWS".to_owned()));
        return;
    };
    // SeaweedFS has a code of its own for it.
    let code = match target.kind {
        StoreKind::SeaweedFs => "InvalidParameterValue",
        _ => "InvalidIdentityToken",
    };
    let found = match exchange(target, &forged).await {
        Ok(_) => Err("it was exchanged for keys".to_owned()),
        Err(told) if told.is(code) => Ok(()),
        Err(told) => Err(format!(
            "refused otherwise than with {code}: {}",
            told.shown()
        )),
    };
    report.add(name, found);
}

fn forged(token: &SecretString) -> Option<SecretString> {
    let (rest, signature) = token.expose_secret().rsplit_once('.')?;
    // The first letter holds whole bits of the signature, unlike the last.
    let first = signature.chars().next()?;
    let other = if first == 'A' { 'B' } else { 'A' };
    Some(format!("{rest}.{other}{}", signature.get(1..)?).into())
}
