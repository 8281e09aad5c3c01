//! Lists come in pages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::InvalidId;

/// A part of a list, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is in this part.
    pub items: Vec<T>,
    /// Asks for the next part; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<PageToken>,
}

/// The query parameters of every list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// At most so many.
    #[serde(default)]
    #[param(inline)]
    pub limit: PageLimit,
    /// From a page's `next_page_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub page_token: Option<PageToken>,
}

/// How many items a page may have: 1 to 1,000, usually 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schema(minimum = 1, maximum = 1000, default = 100)]
pub struct PageLimit(u32);

/// A limit that is not from 1 to 1,000.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a page has 1 to 1,000 items, not {0}")]
pub struct InvalidPageLimit(u32);

impl Default for PageLimit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for PageLimit {
    type Error = InvalidPageLimit;

    fn try_from(limit: u32) -> Result<Self, InvalidPageLimit> {
        if (1..=1_000).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(InvalidPageLimit(limit))
        }
    }
}

impl From<PageLimit> for u32 {
    fn from(limit: PageLimit) -> Self {
        limit.0
    }
}

/// Where a list goes on. Its content is the server's business; it gives no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
pub struct PageToken(Uuid);

impl PageToken {
    /// Goes on behind the item of this number.
    pub fn after(id: Uuid) -> Self {
        Self(id)
    }

    /// The last item of the page before.
    pub fn last(self) -> Uuid {
        self.0
    }
}

impl FromStr for PageToken {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
    }
}

impl TryFrom<String> for PageToken {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<PageToken> for String {
    fn from(token: PageToken) -> Self {
        token.to_string()
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_bounds_is_not_read() {
        for bad in ["0", "1001", "-1", "4294967296"] {
            assert!(serde_json::from_str::<PageLimit>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            serde_json::from_str::<PageLimit>("7").unwrap(),
            PageLimit(7)
        );
    }

    #[test]
    fn a_token_survives_the_way() {
        let token = PageToken::after(Uuid::from_u128(7));
        assert_eq!(token.to_string().parse(), Ok(token));
        assert_eq!("x".parse::<PageToken>(), Err(InvalidId));
    }
}
