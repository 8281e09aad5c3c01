//! `artifacts vault provision`: the bucket and the role that keep actors apart.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use credentials::vault::{BROKER_VARIABLE, BUCKET_VARIABLE, ROLE_VARIABLE};
use credentials::{BucketName, Endpoint, VaultSettings};
use secrecy::SecretString;
use secrets::SecretError;
use secrets::provision::{
    Admin, AdminKeys, Authorities, Check, IamJson, InvalidName, Issuer, Outcome, OwnIdentities,
    Plan, Report, RoleArn, Seen, Step, StoreKind, Target, Verdict, apply, verify,
};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Profile;
use crate::output::table;

/// Say what the vault's bucket and role must be, make them so, or show from outside that they
/// keep actors apart.
///
/// --plan changes nothing and asks nobody: its documents can be applied by hand, too. --apply does
/// exactly that plan, with the storage keys of the profile, which must be an administrator's; it
/// may be interrupted and run again. --verify tries with a token of the broker for this machine's
/// login: its own prefix must work, everything else must be refused with AccessDenied, and nothing
/// broader may stand beside. What it could not look at ends it with exit code 8.
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["plan", "apply", "verify"])))]
pub(crate) struct Provision {
    /// Print the steps and their documents.
    #[arg(long)]
    plan: bool,
    /// Do them.
    #[arg(long)]
    apply: bool,
    /// Show that they hold.
    #[arg(long)]
    verify: bool,
    /// Let credentials end after N days, so that they are renewed.
    #[arg(long, value_name = "N")]
    expire_days: Option<NonZeroU16>,
    /// The kind of store: aws, embedded (or another with IAM's calls), seaweedfs [default: aws
    /// without an endpoint, else embedded].
    #[arg(long, value_name = "KIND")]
    store: Option<StoreKind>,
    /// The bucket, which is to be the vault's alone [default: vault.bucket].
    #[arg(long, value_name = "NAME")]
    bucket: Option<BucketName>,
    /// The store, http:// or https:// [default: vault.endpoint, else AWS].
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// The store's region [default: vault.region, else us-east-1].
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The role [default: vault.role_arn, else for the embedded store and SeaweedFS one of the name
    /// artifacts-vault].
    #[arg(long, value_name = "ARN")]
    role_arn: Option<RoleArn>,
    /// Who issues the tokens: the broker, as its discovery document names it [default:
    /// vault.broker].
    #[arg(long, value_name = "URL")]
    issuer: Option<Issuer>,
    /// For --verify on SeaweedFS: the file of -s3.iam.config, which is compared with the plan.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "apply"])]
    iam_json: Option<PathBuf>,
    #[command(flatten)]
    profile: Profile,
}

/// A step of the plan.
#[derive(Serialize)]
struct Planned<'a> {
    title: String,
    #[serde(flatten)]
    step: &'a Step,
}

/// What became of a step.
#[derive(Serialize)]
struct Applied {
    title: String,
    outcome: &'static str,
    /// What is to be done by hand.
    document: Option<Value>,
}

pub(super) fn run(command: &Provision, context: &Context) -> Result<()> {
    let settings = context.vault_settings()?;
    let target = command.target(&settings, context)?;
    if command.plan {
        return print_plan(&target, context);
    }
    if command.apply {
        let admin = Admin::new(&target, &command.admin_keys(context)?);
        return carry_out(&target, &admin, context);
    }
    let report = command.look(&target, context)?;
    print_report(&report, context)?;
    judged(&report)
}

impl Provision {
    /// Options, then settings, then what goes without saying.
    fn target(&self, settings: &VaultSettings, context: &Context) -> Result<Target> {
        let endpoint = self.endpoint.clone().or_else(|| settings.endpoint.clone());
        let kind = self.store.unwrap_or(match &endpoint {
            None => StoreKind::Aws,
            Some(_) => StoreKind::Embedded,
        });
        let bucket = self.bucket.clone().or_else(|| settings.bucket.clone());
        let bucket = bucket.ok_or_else(|| SecretError::unset("bucket", BUCKET_VARIABLE))?;
        let region = self.region.clone().or_else(|| settings.region.clone());
        let issuer = match (&self.issuer, &settings.broker) {
            (Some(issuer), _) => issuer.clone(),
            (None, Some(broker)) => name(broker.as_str().trim_end_matches('/'))?,
            (None, None) => return Err(SecretError::unset("broker", BROKER_VARIABLE).into()),
        };
        Ok(Target {
            kind,
            bucket,
            sts_endpoint: settings.sts_endpoint.clone().filter(|_| endpoint.is_some()),
            endpoint,
            ca: context
                .vault_servers()?
                .ca()
                .map(Authorities::from_pem)
                .transpose()?,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            role: self.role(kind, settings)?,
            issuer,
            expire_days: self.expire_days,
        })
    }

    fn role(&self, kind: StoreKind, settings: &VaultSettings) -> Result<RoleArn> {
        if let Some(role) = &self.role_arn {
            return Ok(role.clone());
        }
        let usual = match kind {
            StoreKind::Aws => None,
            StoreKind::Embedded => Some("arn:aws:iam::000000000000:role/artifacts-vault"),
            StoreKind::SeaweedFs => Some("arn:aws:iam::role/artifacts-vault"),
        };
        let role = settings.role_arn.as_deref().or(usual);
        let role = role.ok_or_else(|| SecretError::unset("role_arn", ROLE_VARIABLE))?;
        name(role)
    }

    fn look(&self, target: &Target, context: &Context) -> Result<Report> {
        match (target.kind, &self.iam_json) {
            (StoreKind::SeaweedFs, None) => tried(target, Seen::Unseen, context),
            (StoreKind::SeaweedFs, Some(path)) => {
                // It holds the key by which the store signs its sessions.
                let text = std::fs::read(path).map(Zeroizing::new);
                let text = text.map_err(|e| credentials::Error::io("read", path, e))?;
                let file = IamJson::parse(&text)?;
                tried(target, Seen::Read(&file), context)
            }
            (_, Some(_)) => {
                let message = "--iam-json is for SeaweedFS; this store is asked";
                Err(Failure::new(Code::Usage, message)
                    .with_hint("leave it out, or say --store seaweedfs"))
            }
            (_, None) => {
                let admin = Admin::new(target, &self.admin_keys(context)?);
                tried(target, Seen::Asked(&admin), context)
            }
        }
    }

    fn admin_keys(&self, context: &Context) -> Result<AdminKeys> {
        let profile = context.profile(self.profile.profile.as_ref())?;
        let keys = context.storage_keys(&profile)?.resolve()?;
        let secret = |value: &credentials::FieldValue| SecretString::from(value.expose());
        Ok(AdminKeys {
            access_key_id: keys.access_key_id.value.expose().to_owned(),
            secret_access_key: secret(&keys.secret_access_key.value),
            session_token: keys
                .session_token
                .as_ref()
                .map(|token| secret(&token.value)),
        })
    }
}

fn name<T: FromStr<Err = InvalidName>>(text: &str) -> Result<T> {
    Ok(text.parse().map_err(SecretError::from)?)
}

fn print_plan(target: &Target, context: &Context) -> Result<()> {
    let plan = Plan::of(target);
    let planned = |step| Planned {
        title: Step::title(step),
        step,
    };
    let steps: Vec<Planned<'_>> = plan.steps.iter().map(planned).collect();
    context.output.data(&steps, || {
        let number = |(index, step): (usize, &Step)| {
            let document = step.document().map(pretty).unwrap_or_default();
            format!("{}. {}\n{document}", index + 1, step.title())
        };
        plan.steps.iter().enumerate().map(number).collect()
    })
}

fn pretty(document: &Value) -> String {
    // A document of ours always has a text.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

fn carry_out(target: &Target, admin: &Admin, context: &Context) -> Result<()> {
    let plan = Plan::of(target);
    let mut applied: Vec<Applied> = Vec::new();
    let done = |step: &Step, outcome: &Outcome| {
        applied.push(Applied {
            title: step.title(),
            outcome: match outcome {
                Outcome::AlreadySo => "already so",
                Outcome::Made => "made",
                Outcome::Changed => "changed",
                Outcome::ByHand => "by hand",
            },
            document: step
                .document()
                .filter(|_| *outcome == Outcome::ByHand)
                .cloned(),
        });
    };
    let result = context.block_on(async { Ok(apply(admin, &plan, done).await?) });
    // What was done is shown also where the rest failed.
    context.output.data(&applied, || {
        let row = |step: &Applied| vec![step.title.clone(), step.outcome.to_owned()];
        let by_hand = applied.iter().filter_map(|step| step.document.as_ref());
        let documents: String = by_hand.map(pretty).collect();
        table(&["STEP", "OUTCOME"], applied.iter().map(row).collect()) + &documents
    })?;
    result
}

fn tried(target: &Target, seen: Seen<'_>, context: &Context) -> Result<Report> {
    let access = context.vault_access(&context.vault_servers()?)?;
    context.block_on(async {
        let identities = OwnIdentities::of(access).await?;
        Ok(verify(target, &identities, seen).await?)
    })
}

fn print_report(report: &Report, context: &Context) -> Result<()> {
    context.output.data(report, || {
        let row = |check: &Check| {
            let verdict = match check.verdict {
                Verdict::Passed => "passed",
                Verdict::Failed => "FAILED",
                Verdict::Skipped => "skipped",
                Verdict::Unchecked => "NOT CHECKED",
            };
            let reason = check.reason.clone().unwrap_or_default();
            vec![check.name.clone(), verdict.to_owned(), reason]
        };
        let rows = report.checks.iter().map(row).collect();
        table(&["CHECK", "RESULT", "REASON"], rows)
    })
}

/// A failure that names the first check that failed, or what was left out; the others are in the
/// table.
fn judged(report: &Report) -> Result<()> {
    let Some(first) = report.failures().next() else {
        return whole(report);
    };
    let reason = first.reason.as_deref().unwrap_or_default();
    let message = format!(
        "the vault's isolation is not shown: {} of {} checks failed, the first: {}: {reason}",
        report.failures().count(),
        report.checks.len(),
        first.name,
    );
    let hint = "run artifacts vault provision --apply, remove what is named beside its documents, \
                then verify again";
    Err(Failure::new(Code::VaultFailed, message).with_hint(hint))
}

fn whole(report: &Report) -> Result<()> {
    let Some(first) = report.unchecked().next() else {
        return Ok(());
    };
    let message = format!(
        "nothing failed, but the vault's isolation is not shown; not checked: {}",
        first.name,
    );
    let hint = first.reason.clone().unwrap_or_default();
    Err(Failure::new(Code::LeftUndone, message).with_hint(hint))
}
