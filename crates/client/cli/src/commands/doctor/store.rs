//! What only a workspace's store can tell: whether it takes the keys, what it honours, and
//! whether its clock and ours agree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucket::{Body, Bucket, Condition, Key, PutOptions};
use model::WorkspaceName;
use uuid::Uuid;

use super::Finding;
use crate::commands::workspace::view::shortcomings;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::variables;
use crate::workspace::{self, first_page, place, probe};

/// Stores refuse a signature that is 15 minutes off (the S3 client here corrects itself, other
/// tools do not); long before, times of files are wrong.
const SKEW_ALLOWED: Duration = Duration::from_secs(60);
const SKEW_REFUSED: Duration = Duration::from_secs(15 * 60);

pub(super) fn look(context: &Context, name: &WorkspaceName, keys: &Settled) -> Vec<Finding> {
    let opened = match workspace::open(context, name, keys) {
        Ok(opened) => opened,
        Err(failure) if failure.code == Code::KeyringPassword && !has_password(context) => {
            let title =
                format!("{name}: its keys are in a locked keyring, so its store is not asked");
            let next = failure.hint.unwrap_or_default();
            return vec![Finding::note("keys", "locked", title, next)];
        }
        Err(failure) => return vec![Finding::problem("keys", of(name, failure))],
    };
    let mut findings = vec![Finding::good("keys", format!("{name}: there are keys"))];
    let asked = context.block_on(async {
        first_page(opened.bucket.as_ref(), &opened.config).await?;
        let capabilities = probe(opened.bucket.as_ref(), &opened.config).await?;
        let skew = match capabilities.writable {
            true => Some(skew(opened.bucket.as_ref(), &opened.config.prefix).await?),
            false => None,
        };
        Ok((capabilities, skew))
    });
    let (capabilities, skew) = match asked {
        Ok(answers) => answers,
        Err(failure) => {
            findings.push(Finding::problem("bucket", of(name, failure)));
            return findings;
        }
    };
    let place = place(&opened.config);
    let lacks = shortcomings(&capabilities);
    if lacks.is_empty() {
        findings.push(Finding::good(
            "bucket",
            format!("{name}: {place} can do everything"),
        ));
    }
    for (lack, next) in lacks {
        let title = format!("{name}: {place}: {lack}");
        findings.push(Finding::note("bucket", "lacks", title, next));
    }
    findings.push(match skew {
        Some(skew) => clock(name, skew),
        None => {
            let title = format!("{name}: the store's clock is not known: the keys may only read");
            let next =
                "nothing is lost by it; look with keys that may write, if files have wrong times";
            Finding::note("clock", "not-known", title, next)
        }
    });
    findings
}

/// Whether a password was given, so that it must have been the wrong one.
fn has_password(context: &Context) -> bool {
    let config = context.config();
    config.is_ok_and(|config| {
        let mut names = config.password_variables().into_iter();
        names.any(|name| variables::text(name).is_some())
            || variables::text(credentials::PASSWORD_VARIABLE).is_some()
    })
}

/// How far apart the store's clock and ours are: what time it gives an object that is
/// written just now, to the second.
async fn skew(bucket: &dyn Bucket, prefix: &credentials::Prefix) -> Result<Duration> {
    let key = prefix.join(&format!(
        "{}clock-{}",
        bucket::probe::SCRATCH,
        Uuid::new_v4()
    ));
    let key = Key::new(key).map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    let before = SystemTime::now();
    bucket
        .put(
            &key,
            Body::Bytes(bytes::Bytes::new()),
            PutOptions::default(),
        )
        .await?;
    let after = SystemTime::now();
    let seen = bucket.head(&key).await;
    bucket.delete(&key, Condition::None).await?;
    let theirs = u64::try_from(seen?.last_modified / 1_000_000_000).unwrap_or(0);
    let seconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs()
    };
    let apart = theirs
        .saturating_sub(seconds(after))
        .max(seconds(before).saturating_sub(theirs));
    Ok(Duration::from_secs(apart))
}

fn clock(name: &WorkspaceName, skew: Duration) -> Finding {
    let title = format!(
        "{name}: this clock and the store's are {} s apart",
        skew.as_secs()
    );
    let next = "set the clock: timedatectl set-ntp true";
    if skew >= SKEW_REFUSED {
        Finding::problem(
            "clock",
            Failure::new(Code::ClockSkewed, title).with_hint(next),
        )
    } else if skew > SKEW_ALLOWED {
        Finding::note("clock", "apart", title, next)
    } else {
        Finding::good("clock", title)
    }
}

fn of(name: &WorkspaceName, failure: Failure) -> Failure {
    Failure {
        message: format!("{name}: {}", failure.message),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_wrong_by_degrees() {
        let name: WorkspaceName = "work".parse().expect("a name");
        for (seconds, code) in [
            (0, "clock-good"),
            (60, "clock-good"),
            (61, "clock-apart"),
            (899, "clock-apart"),
            (900, "clock-skewed"),
        ] {
            let finding = clock(&name, Duration::from_secs(seconds));
            assert_eq!(finding.code, code, "{seconds} s");
        }
    }
}
