//! Rows and words. States, modes and names stand in rows as the same words as on the wire, so
//! that there is one spelling and one parser of each.

use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StringDeserializer};
use serde::{Serialize, de::IntoDeserializer};

use super::{Result, StoreError};

/// The word for a value that is one word on the wire.
pub(super) fn word(value: &impl Serialize) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(StoreError::Broken(format!("not one word: {other:?}"))),
    }
}

/// The value of a word.
pub(super) fn value<T: DeserializeOwned>(word: String) -> Result<T> {
    let deserializer: StringDeserializer<WordError> = word.into_deserializer();
    T::deserialize(deserializer).map_err(|error| StoreError::Broken(error.to_string()))
}

/// The same for a column that may be empty.
pub(super) fn optional<T: DeserializeOwned>(word: Option<String>) -> Result<Option<T>> {
    word.map(value).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Mode, TenantState};

    #[test]
    fn words_are_those_of_the_wire() {
        assert_eq!(word(&TenantState::Provisioning).unwrap(), "provisioning");
        assert_eq!(value::<Mode>("ro".into()).unwrap(), Mode::Ro);
        let wrong = value::<Mode>("rx".into());
        assert!(matches!(wrong, Err(StoreError::Broken(_))));
    }
}
