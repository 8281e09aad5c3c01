//! One suite for every bucket: what the product relies on, as cases with names.
//!
//! A case panics with words where the bucket does not conform. A store that is known to
//! differ declares it as a [`Gap`] by the case's name, with the reason; the case still
//! runs, and a gap that has closed fails the suite, so that the list can only shrink.
//!
//! Meant for tests; the product does not call it.

mod conditions;
mod keys;
mod lab;
mod listing;
mod objects;
mod parts;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::Bucket;

pub use lab::Lab;

/// A bucket under test.
#[derive(Clone)]
pub struct Subject {
    /// The bucket; cases write under prefixes of their own and clean up.
    pub bucket: Arc<dyn Bucket>,
    /// A body longer than this goes up in parts, where the adapter has parts.
    pub multipart_threshold: u64,
    /// How many multipart uploads under a prefix are neither completed nor aborted.
    pub unfinished_uploads: UnfinishedUploads,
}

/// Asks the store, past the adapter, for unfinished uploads under a prefix.
pub type UnfinishedUploads = Arc<dyn Fn(String) -> BoxFuture<'static, usize> + Send + Sync>;

/// A difference from S3 that is known and accepted.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// The case's name.
    pub case: &'static str,
    /// What the store does instead.
    pub reason: &'static str,
    /// The case may hold by luck: a lost race does not show every time.
    pub sometimes: bool,
}

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// What must hold.
    pub name: &'static str,
    run: fn(Lab) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        /// Every case.
        pub const CASES: &[Case] = &[
            $($(Case { name: stringify!($name), run: |lab| $module::$name(lab).boxed() },)+)+
        ];
    };
}

cases! {
    objects:
        a_body_comes_back
        an_empty_object_is_an_object
        a_file_is_sent_by_position
        a_file_that_is_too_short_makes_no_object
        an_object_that_is_missing_is_not_found
        ranges_are_exact
        metadata_comes_back
        metadata_beyond_ascii_comes_back
        times_are_sensible
        a_copy_is_the_same
        a_copy_can_change_metadata
        deleting_twice_succeeds
        many_are_deleted_at_once;
    conditions:
        put_if_absent
        put_if_match
        put_if_match_on_nothing_is_not_found
        get_if_match
        copy_if_the_source_matches
        copy_if_absent
        delete_if_match
        delete_if_absent_is_refused
        sixteen_creators_have_one_winner
        sixteen_editors_have_one_winner;
    parts:
        a_large_body_goes_up_whole
        a_large_file_goes_up_whole
        a_large_body_keeps_conditions
        large_creators_have_one_winner
        a_large_file_that_is_too_short_leaves_nothing
        a_dropped_upload_leaves_nothing
        an_upload_that_was_cut_off_is_gone_on_with
        parts_of_another_body_are_sent_again
        a_body_that_changed_is_not_put_together
        an_upload_can_be_abandoned;
    keys:
        keys_with_empty_segments
        keys_with_dot_segments
        keys_that_end_in_a_slash
        a_key_that_ends_in_a_slash_can_be_copied
        a_key_that_ends_in_a_slash_can_have_a_body
        keys_with_control_characters
        keys_with_reserved_characters
        keys_in_every_script
        keys_with_backslashes
        keys_of_1024_bytes
        a_segment_of_1000_bytes
        a_key_that_is_another_ones_folder;
    listing:
        a_prefix_need_not_end_at_a_slash
        a_listing_is_in_byte_order
        pages_join_without_a_gap
        a_delimiter_rolls_up
        pages_of_folders_join_without_a_gap
        a_delimiter_can_be_any_character
        a_listing_starts_after_a_key
        a_listing_of_folders_starts_after_a_key
        a_listing_of_nothing_is_empty
        pages_of_a_thousand;
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The bucket conforms.
    Held,
    /// It does not, as declared.
    KnownGap(&'static str),
    /// It does not.
    Failed(String),
    /// It does, although a gap is declared: remove the gap.
    GapClosed,
}

/// Runs every case, a few at a time, and tells how each ended.
pub async fn run(subject: &Subject, gaps: &[Gap]) -> Vec<(&'static str, Ending)> {
    use futures::StreamExt;
    let endings = CASES
        .iter()
        .map(|case| run_case(subject.clone(), *case, gaps));
    futures::stream::iter(endings).buffered(4).collect().await
}

/// Runs every case and panics with the list of those that did not end as declared.
pub async fn assert_conforms(subject: &Subject, gaps: &[Gap]) {
    for gap in gaps {
        assert!(
            CASES.iter().any(|case| case.name == gap.case),
            "no case {}",
            gap.case
        );
    }
    let endings = run(subject, gaps).await;
    for (case, ending) in &endings {
        tracing::info!(case, ?ending, "conformance");
    }
    let wrong = |ending: &Ending| matches!(ending, Ending::Failed(_) | Ending::GapClosed);
    let wrong: Vec<String> = endings
        .iter()
        .filter(|(_, ending)| wrong(ending))
        .map(|(case, ending)| format!("{case}: {ending:?}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        CASES.len(),
        wrong.join("\n")
    );
}

async fn run_case(subject: Subject, case: Case, gaps: &[Gap]) -> (&'static str, Ending) {
    let lab = Lab::new(subject, case.name);
    // A task of its own turns a panic into an answer.
    let outcome = tokio::spawn((case.run)(lab.clone())).await;
    lab.clean().await;
    let gap = gaps.iter().find(|gap| gap.case == case.name);
    let ending = match (outcome, gap) {
        (Ok(()), None) => Ending::Held,
        (Ok(()), Some(gap)) if !gap.sometimes => Ending::GapClosed,
        (Ok(()), Some(_)) => Ending::Held,
        (Err(_), Some(gap)) => Ending::KnownGap(gap.reason),
        (Err(error), None) => Ending::Failed(words(error)),
    };
    (case.name, ending)
}

fn words(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "cancelled".into();
    };
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or_else(|_| "panicked".into(), |t| (*t).into()),
    }
}
