//! The master secrets in memory.

use aws_lc_rs::rand;
use subtle::ConstantTimeEq;
use vault::MasterSecret;
use zeroize::Zeroizing;

use crate::memory::{Locked, PAGE};

/// Secrets on one page.
const PER_PAGE: usize = 100;

/// More epochs than anybody begins: one a day for 27 years.
pub(crate) const MOST: usize = 10_000;

#[repr(C, align(4096))]
struct Page([Option<MasterSecret>; PER_PAGE]);

const _: () = assert!(size_of::<Page>() == PAGE);

/// The master secrets of all epochs, the first to the current. Neither `Debug` nor `Clone`;
/// wiped when dropped.
pub struct Epochs {
    pages: Vec<Locked<Page>>,
    /// When each began, in seconds since 1970.
    begun: Vec<i64>,
}

impl Epochs {
    /// None yet.
    pub(crate) fn empty() -> Self {
        Self {
            pages: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// The first epoch, with a random secret. `None` if the system gives no random numbers.
    pub(crate) fn first(now: i64) -> Option<Self> {
        let mut epochs = Self::empty();
        epochs.advance(now)?;
        Some(epochs)
    }

    /// One epoch more, with a random secret. `None` if the system gives no random numbers, or
    /// there are too many epochs already.
    pub(crate) fn advance(&mut self, now: i64) -> Option<()> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(secret.as_mut_slice()).ok()?;
        self.push(&secret, now)
    }

    pub(crate) fn push(&mut self, secret: &[u8; 32], begun: i64) -> Option<()> {
        let at = self.begun.len();
        if at >= MOST {
            return None;
        }
        if at.is_multiple_of(PER_PAGE) {
            self.pages
                .push(Locked::new(Page([const { None }; PER_PAGE])));
        }
        let page = self.pages.last_mut()?;
        page.0[at % PER_PAGE] = Some(MasterSecret::from_bytes(*secret));
        self.begun.push(begun);
        Some(())
    }

    /// The current epoch; 0 if there is none.
    pub fn current(&self) -> u32 {
        u32::try_from(self.begun.len()).unwrap_or(u32::MAX)
    }

    /// When an epoch began, in seconds since 1970.
    pub fn begun(&self, epoch: u32) -> Option<i64> {
        let at = usize::try_from(epoch).ok()?.checked_sub(1)?;
        self.begun.get(at).copied()
    }

    /// Whether the memory of all secrets is locked.
    pub fn are_locked(&self) -> bool {
        self.pages.iter().all(Locked::is_locked)
    }

    /// The secret of an epoch.
    pub(crate) fn secret(&self, epoch: u32) -> Option<&MasterSecret> {
        let at = usize::try_from(epoch).ok()?.checked_sub(1)?;
        self.pages.get(at / PER_PAGE)?.0[at % PER_PAGE].as_ref()
    }

    /// Each secret with the moment that it began at, the first epoch's first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (i64, &MasterSecret)> {
        let secrets = self.pages.iter().flat_map(|page| &page.0).flatten();
        self.begun.iter().copied().zip(secrets)
    }

    /// Whether these are the other's epochs, and perhaps more.
    pub(crate) fn continues(&self, older: &Self) -> bool {
        let same = |(ours, theirs): (&MasterSecret, &MasterSecret)| {
            bool::from(ours.expose().ct_eq(theirs.expose()))
        };
        let pairs = self
            .all()
            .map(|one| one.1)
            .zip(older.all().map(|one| one.1));
        self.current() >= older.current() && pairs.into_iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_have_secrets_of_their_own_on_locked_pages() {
        let mut epochs = Epochs::first(7).unwrap();
        for n in 1..150 {
            epochs.advance(7 + n).unwrap();
        }
        assert_eq!((epochs.current(), epochs.begun(150)), (150, Some(156)));
        assert!(epochs.are_locked());
        let mut seen: Vec<_> = epochs.all().map(|(_, secret)| *secret.expose()).collect();
        assert_eq!(epochs.secret(101).unwrap().expose(), &seen[100]);
        assert!(epochs.secret(0).is_none() && epochs.secret(151).is_none());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 150);
    }

    #[test]
    fn only_the_same_and_more_is_a_continuation() {
        let with = |secrets: &[u8]| {
            let mut epochs = Epochs::empty();
            for byte in secrets {
                epochs.push(&[*byte; 32], 0).unwrap();
            }
            epochs
        };
        let held = with(&[1, 2]);
        assert!(with(&[1, 2]).continues(&held));
        assert!(with(&[1, 2, 3]).continues(&held));
        for other in [&[1][..], &[1, 3], &[2, 1, 3], &[]] {
            assert!(!with(other).continues(&held), "{other:?}");
        }
    }
}
