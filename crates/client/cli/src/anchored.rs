//! Heads of an audit: kept elsewhere, or anchored on the chain; and whether a file still has them.

use std::fmt;
use std::str::FromStr;

use api::Timestamp;
use credentials::{RegistrySettings, VaultSettings};
use model::Actor;
use registrar::chain::{self, Anchor, ChainPlace, ChainRegistrar};
use serde::Serialize;
use vault::audit::Link;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::registering::{WriteKey, chain_place, registry};

/// That there were so many records, of which the last one had this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) records: u64,
    pub(crate) hash: [u8; 32],
}

/// No audit has more. Anchors only grow: one of a number beyond all would be the last of its list.
const MOST_RECORDS: u64 = 1 << 48;

impl Head {
    /// Whether this record is the last of them.
    pub(crate) fn is(&self, link: &Link) -> bool {
        (self.records, self.hash) == (link.seq, link.hash)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.records)?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let read = || {
            let (records, digits) = text.split_once(':')?;
            let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let digits = is_hash.then_some(digits)?;
            let mut hash = [0; 32];
            for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
                *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
            }
            let in_range = |records: &u64| (1..=MOST_RECORDS).contains(records);
            let records = records.parse().ok().filter(in_range)?;
            Some(Self { records, hash })
        };
        read().ok_or("a head is written as it is shown: RECORDS:HEAD, of at most 2^48 records")
    }
}

/// What was anchored for an operator.
pub(crate) struct Anchors {
    pub(crate) operator: Actor,
    all: Vec<Anchor>,
}

impl Context {
    /// What was anchored for this operator; where none is named, for who is logged in at the
    /// broker, else for the wallet of this machine.
    pub(crate) fn anchors(&self, named: Option<&Actor>) -> Result<Anchors> {
        let settings = self.vault_settings()?;
        let configured = registry(&settings)?;
        if let RegistrySettings::Documents { .. } = configured {
            let text = "the registry is one of documents, where nothing is anchored";
            return Err(Failure::new(Code::VaultUsage, text).with_hint(
                "keep heads elsewhere and compare with artifacts vault audit --seen, or name a chain in [vault.registry]",
            ));
        }
        let place = chain_place(configured)?;
        let operator = match named {
            Some(operator) => operator.clone(),
            None => self.whose(&settings, &place)?,
        };
        let all = self.block_on(async { Ok(chain::anchors(&place, &operator).await?) })?;
        Ok(Anchors { operator, all })
    }

    /// The broker says who is logged in, and its own audit may be what is checked: where this
    /// machine has a wallet, that must write for whom the broker names.
    fn whose(&self, settings: &VaultSettings, place: &ChainPlace) -> Result<Actor> {
        let wallet = match self.write_key(settings) {
            Ok(WriteKey::Wallet(wallet)) => Some(wallet),
            Err(failure) if failure.code != Code::VaultUsage => return Err(failure),
            _ => None,
        };
        match (self.logged_in_operator(settings)?, wallet) {
            (None, None) => {
                let text = "whose anchors are meant is not known";
                Err(Failure::new(Code::VaultLogin, text)
                    .with_hint("run artifacts vault login, or give --operator"))
            }
            (None, Some(wallet)) => Ok(wallet.actor()?),
            (Some(operator), None) => Ok(operator),
            (Some(operator), Some(wallet)) => {
                let own = wallet.actor()?;
                let chain = ChainRegistrar::new(place.clone(), wallet, Some(operator.clone()))?;
                if self.block_on(async { Ok(chain.controls().await?) })? {
                    return Ok(operator);
                }
                let text = format!(
                    "the broker says that you are operator {operator}, for whom this machine's wallet does not write"
                );
                Err(Failure::new(Code::VaultUsage, text)
                    .with_hint(format!("give --operator: {own} is the wallet's own number")))
            }
        }
    }
}

impl Anchors {
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The newest one.
    pub(crate) fn last(&self) -> Option<Head> {
        self.all.last().map(|anchor| Head {
            records: anchor.records,
            hash: anchor.head,
        })
    }

    /// To go through a file with.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside {
            left: &self.all,
            lost: None,
        }
    }
}

/// A file beside the anchors, record by record.
pub(crate) struct Beside<'a> {
    left: &'a [Anchor],
    lost: Option<Lost>,
}

/// The first anchor that a file has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    /// So many records were anchored.
    records: u64,
    anchored_at: Timestamp,
    /// Whether the file has fewer; else the last one of them is another.
    is_cut_off: bool,
}

impl Beside<'_> {
    /// The next record of the file.
    pub(crate) fn see(&mut self, link: &Link) {
        let Some((anchor, left)) = self.left.split_first() else {
            return;
        };
        if anchor.records != link.seq {
            return;
        }
        self.left = left;
        if anchor.head != link.hash && self.lost.is_none() {
            self.lost = Some(Lost::of(anchor, false));
        }
    }

    /// At the file's end.
    pub(crate) fn lost(self) -> Option<Lost> {
        let missing = self.left.first();
        self.lost
            .or_else(|| missing.map(|anchor| Lost::of(anchor, true)))
    }
}

impl Lost {
    fn of(anchor: &Anchor, is_cut_off: bool) -> Self {
        let seconds = i64::try_from(anchor.at).unwrap_or(i64::MAX);
        Self {
            records: anchor.records,
            anchored_at: Timestamp::from_micros(seconds.saturating_mul(1_000_000)),
            is_cut_off,
        }
    }

    /// For people; `records` are those of the file.
    pub(crate) fn words(&self, file: &std::path::Path, records: u64) -> String {
        let (file, at) = (file.display(), self.anchored_at);
        let anchored = self.records;
        match self.is_cut_off {
            true => format!(
                "{file} has {records} records, but {anchored} were anchored at {at}: it was cut off"
            ),
            false => format!(
                "record {anchored} of {file} is not the one that was anchored at {at}: it was written anew, or is another server's"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(records: u64, head: u8) -> Anchor {
        Anchor {
            records,
            head: [head; 32],
            at: 1_790_000_000,
        }
    }

    /// What is lost of these anchors in a file of so many records, each hashed as its number.
    fn lost(anchors: &[Anchor], records: u8) -> Option<(u64, bool)> {
        let anchors = Anchors {
            operator: Actor::from_oidc("https://issuer", "ada").expect("an actor"),
            all: anchors.to_vec(),
        };
        let mut beside = anchors.beside();
        for seq in 1..=records {
            beside.see(&Link {
                seq: seq.into(),
                hash: [seq; 32],
            });
        }
        beside.lost().map(|lost| (lost.records, lost.is_cut_off))
    }

    #[test]
    fn each_anchor_is_looked_for_and_the_first_lost_one_told() {
        let all = [anchor(1, 1), anchor(3, 3), anchor(7, 7)];
        assert_eq!(lost(&all, 7), None);
        assert_eq!(lost(&all, 200), None);
        assert_eq!(lost(&[], 0), None);
        assert_eq!(lost(&all, 6), Some((7, true)));
        assert_eq!(lost(&all, 2), Some((3, true)));
        assert_eq!(lost(&all, 0), Some((1, true)));
        let other = [anchor(1, 1), anchor(3, 9), anchor(7, 9)];
        assert_eq!(lost(&other, 7), Some((3, false)));
        assert_eq!(lost(&other, 4), Some((3, false)));
    }

    #[test]
    fn heads_are_read_as_they_are_written() {
        let text = format!("3:{}", "ab".repeat(32));
        let head: Head = text.to_uppercase().parse().expect("a head");
        assert_eq!((head.records, head.to_string()), (3, text));
        let digits = "ab".repeat(32);
        for bad in [
            "3",
            "0:00",
            &format!("0:{digits}"),
            &format!("{}:{digits}", MOST_RECORDS + 1),
            &format!("{}:{digits}", u64::MAX),
            &format!("x:{digits}"),
            &format!("3:{}", "é".repeat(32)),
            &format!("3:+{}", &digits[1..]),
        ] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}
