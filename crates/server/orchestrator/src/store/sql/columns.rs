//! Columns of a row as the types that they hold.

use api::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::Row;
use uuid::Uuid;

use super::DbRow;
use crate::store::{Result, decode};

pub(super) fn id<T: From<Uuid>>(row: &DbRow, column: &str) -> Result<T> {
    Ok(row.try_get::<Uuid, _>(column)?.into())
}

pub(super) fn some_id<T: From<Uuid>>(row: &DbRow, column: &str) -> Result<Option<T>> {
    Ok(row.try_get::<Option<Uuid>, _>(column)?.map(T::from))
}

pub(super) fn time(row: &DbRow, column: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

pub(super) fn some_time(row: &DbRow, column: &str) -> Result<Option<Timestamp>> {
    let micros: Option<i64> = row.try_get(column)?;
    Ok(micros.map(Timestamp::from_micros))
}

pub(super) fn value<T: DeserializeOwned>(row: &DbRow, column: &str) -> Result<T> {
    decode::value(row.try_get(column)?)
}

pub(super) fn some_value<T: DeserializeOwned>(row: &DbRow, column: &str) -> Result<Option<T>> {
    decode::optional(row.try_get(column)?)
}

pub(super) fn text(row: &DbRow, column: &str) -> Result<String> {
    Ok(row.try_get(column)?)
}

pub(super) fn some_text(row: &DbRow, column: &str) -> Result<Option<String>> {
    Ok(row.try_get(column)?)
}

pub(super) fn some_number(row: &DbRow, column: &str) -> Result<Option<i64>> {
    Ok(row.try_get(column)?)
}

pub(super) fn number(row: &DbRow, column: &str) -> Result<i64> {
    Ok(row.try_get(column)?)
}
