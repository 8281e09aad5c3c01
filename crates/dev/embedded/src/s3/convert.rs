//! Between S3's words and the store's.

use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};
use time::OffsetDateTime;

use crate::store::{Conditions, Error, Tag};

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchBucket => s3_error!(NoSuchBucket, "The specified bucket does not exist"),
            Error::BucketExists => {
                s3_error!(BucketAlreadyOwnedByYou, "You own this bucket already")
            }
            Error::BucketNotEmpty => s3_error!(
                BucketNotEmpty,
                "The bucket holds objects or unfinished uploads"
            ),
            Error::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            Error::NoSuchUpload => s3_error!(
                NoSuchUpload,
                "The upload does not exist, was completed or aborted"
            ),
            Error::Precondition => {
                s3_error!(
                    PreconditionFailed,
                    "At least one of the pre-conditions you specified did not hold"
                )
            }
            Error::InvalidPart(number) => {
                s3_error!(
                    InvalidPart,
                    "Part {number} was not uploaded, or has another entity tag"
                )
            }
            Error::InvalidPartOrder => {
                s3_error!(InvalidPartOrder, "The parts are not in ascending order")
            }
            Error::EntityTooSmall(number) => {
                s3_error!(
                    EntityTooSmall,
                    "Part {number} is smaller than 5 MiB and not the last"
                )
            }
            Error::InvalidToken => s3_error!(
                InvalidArgument,
                "The continuation token is not one of this store"
            ),
            Error::Closing => s3_error!(ServiceUnavailable, "The server is shutting down"),
            Error::Index(_) | Error::Io(_) | Error::Commit(_) => {
                tracing::error!(%error, "the store failed");
                S3Error::internal_error(error)
            }
        }
    }
}

/// The conditions of a write. S3 knows only `*` for `If-None-Match` on a write.
pub(super) fn write_conditions(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<Conditions> {
    if matches!(if_none_match, Some(ETagCondition::ETag(_))) {
        return Err(s3_error!(
            NotImplemented,
            "If-None-Match on a write knows only *"
        ));
    }
    Ok(Conditions {
        if_match: if_match.map(tag),
        if_none_match: if_none_match.map(tag),
        ..Conditions::default()
    })
}

/// A condition in the store's words.
pub(super) fn tag(condition: ETagCondition) -> Tag {
    match condition {
        ETagCondition::Any => Tag::Any,
        ETagCondition::ETag(etag) => Tag::Exactly(etag.into_value()),
    }
}

/// An entity tag as the wire carries it.
pub(super) fn etag(tag: &str) -> ETag {
    ETag::Strong(tag.to_owned())
}

/// A time in whole seconds, as S3 gives it both in headers and in listings.
pub(super) fn timestamp(nanoseconds: i64) -> Timestamp {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .into()
}

/// Whole seconds since the Unix epoch.
pub(super) fn seconds(timestamp: Timestamp) -> i64 {
    OffsetDateTime::from(timestamp).unix_timestamp()
}

/// A size as S3's types count it.
pub(super) fn size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
