//! The mounts that are alive, and how far behind each is. The script renews this page's list.

use std::sync::Arc;

use api::{LiveMount, Timestamp};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base::Failure;
use base::extract::Parameters;

use super::shell::{Section, Shell, page};
use super::visitor::Visitor;
use super::{ListQuery, state};
use crate::app::App;
use crate::endpoints::mounts;

#[derive(Template)]
#[template(path = "mounts.html")]
struct List {
    shell: Shell,
    handle: String,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    mount: LiveMount,
    who: String,
    behind: (&'static str, String),
    waiting: String,
    heard: String,
}

/// Those of the tenant's workspaces.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    let caller = visitor.caller.clone();
    let asked = Parameters(query.part());
    let Json(found) = mounts::of_tenant(state(&app), caller, asked).await?;
    let now = app.now();
    let template = List {
        shell: Shell::new(&visitor, Section::Mounts, "Live mounts"),
        handle: visitor.caller.tenant()?.handle.to_string(),
        rows: found
            .items
            .into_iter()
            .map(|mount| row(mount, now))
            .collect(),
        next: found.next_page_token.map(|token| token.to_string()),
    };
    Ok(page(StatusCode::OK, &template))
}

fn row(mount: LiveMount, now: Timestamp) -> Row {
    let seconds = (now.seconds() - mount.reported_at.seconds()).max(0);
    Row {
        who: who(&mount.actor),
        behind: behind(mount.events_behind),
        waiting: waiting(&mount),
        heard: format!("{seconds} s ago"),
        mount,
    }
}

/// An actor by the beginning of its number, a token or ticket by that and its kind.
fn who(actor: &str) -> String {
    let shown = match actor.split_once(':') {
        Some((kind, _)) => kind.len() + 1 + 12,
        None => 12,
    };
    actor.chars().take(shown).collect()
}

/// What others changed that the mount has not taken in.
fn behind(events: Option<u64>) -> (&'static str, String) {
    match events {
        None => ("off", "follows none".into()),
        Some(0) => ("good", "up to date".into()),
        Some(1) => ("wait", "1 event".into()),
        Some(count) => ("wait", format!("{count} events")),
    }
}

/// What the mount changed that is not in the bucket.
fn waiting(mount: &LiveMount) -> String {
    let report = &mount.report;
    if report.pending == 0 {
        return "nothing".into();
    }
    let what = match report.pending {
        1 => "1 change".into(),
        count => format!("{count} changes"),
    };
    let size = bytes(report.pending_bytes);
    match report.oldest_pending_seconds {
        Some(seconds) => format!("{what}, {size}, for {}", duration(seconds)),
        None => format!("{what}, {size}"),
    }
}

/// To three digits, in the units of storage.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // In hundredths, so that there is nothing to round twice.
    let mut hundredths = u128::from(count) * 100;
    let mut unit = "B";
    for larger in UNITS {
        if hundredths < 1024 * 100 {
            break;
        }
        hundredths /= 1024;
        unit = larger;
    }
    match hundredths {
        0..1_000 => format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100),
        1_000..10_000 => format!("{}.{} {unit}", hundredths / 100, hundredths % 100 / 10),
        _ => format!("{} {unit}", hundredths / 100),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (999 << 20, "999 MiB"),
            (5 << 30, "5.00 GiB"),
            (u64::MAX, "16777215 TiB"),
        ];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
