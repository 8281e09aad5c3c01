//! The highest generation of each secret that was seen on this machine.
//!
//! Whoever may write to the bucket could put an older envelope back: it opens, because it was
//! good once. So what was seen is remembered, in one file for each actor in the state folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::vault::Reason;
use credentials::{Folder, Paths, Privacy};
use model::{Actor, ServiceName};
use serde::{Deserialize, Serialize};

use crate::error::{Kind, Result, SecretError};

/// Nobody stores so often: whoever writes a higher one wants no further one to fit.
const HIGHEST: u64 = u64::MAX / 2;

/// The place of these files.
#[derive(Debug, Clone)]
pub struct Seen {
    folder: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    generations: BTreeMap<ServiceName, u64>,
}

impl Seen {
    /// In the state folder.
    pub fn new(paths: &Paths) -> Self {
        Self {
            folder: paths.state().join("vault-seen"),
        }
    }

    /// What was seen of a service.
    ///
    /// # Errors
    /// The file is unreadable, or others may write to it.
    pub fn of(&self, actor: &Actor, service: &ServiceName) -> Result<Option<u64>> {
        let Some(folder) = Folder::open(&self.folder)? else {
            return Ok(None);
        };
        Ok(self.read(&folder, actor)?.generations.get(service).copied())
    }

    /// Refuses an envelope that is older than what was seen.
    ///
    /// # Errors
    /// [`Reason::EnvelopeRollback`].
    pub fn check(&self, actor: &Actor, service: &ServiceName, generation: u64) -> Result<()> {
        refuse_older(self.of(actor, service)?, service, generation)
    }

    /// Takes a generation that was read: refuses an older one, unless it is known why; then it
    /// counts as the present one.
    ///
    /// # Errors
    /// [`Reason::EnvelopeRollback`].
    pub fn take(
        &self,
        actor: &Actor,
        service: &ServiceName,
        generation: u64,
        accept_older: bool,
    ) -> Result<()> {
        if accept_older {
            return self.set(actor, service, generation);
        }
        self.check(actor, service, generation)?;
        self.note(actor, service, generation)
    }

    /// Remembers what was stored just now. It never lowers what was seen: where the generation is
    /// lower, an older state was continued, and the next one who reads is to know as well.
    ///
    /// # Errors
    /// [`Reason::EnvelopeRollback`], though it is stored.
    pub fn stored(&self, actor: &Actor, service: &ServiceName, generation: u64) -> Result<()> {
        let seen = self.of(actor, service)?.filter(|seen| *seen > generation);
        let Some(seen) = seen else {
            return self.note(actor, service, generation);
        };
        let text = format!(
            "{service} is stored, but as generation {generation}, and generation {seen} was seen here: an older state was continued"
        );
        let hint = "find out who changed the bucket; if that was on purpose, take it for the present one: artifacts secret read SERVICE --accept-older";
        Err(SecretError {
            hint: hint.into(),
            ..SecretError::because(Reason::EnvelopeRollback, text)
        })
    }

    /// Remembers a generation that is higher than what was seen.
    ///
    /// # Errors
    /// It could not be written.
    pub fn note(&self, actor: &Actor, service: &ServiceName, generation: u64) -> Result<()> {
        if self
            .of(actor, service)?
            .is_some_and(|seen| seen >= generation)
        {
            return Ok(());
        }
        self.change(actor, |file| {
            let seen = file.generations.entry(service.clone()).or_default();
            *seen = generation.max(*seen);
        })
    }

    /// All that was seen of an actor's.
    ///
    /// # Errors
    /// The file is unreadable, or others may write to it.
    pub fn all(&self, actor: &Actor) -> Result<BTreeMap<ServiceName, u64>> {
        match Folder::open(&self.folder)? {
            Some(folder) => Ok(self.read(&folder, actor)?.generations),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Remembers many at once, each where it is higher than what was seen.
    ///
    /// # Errors
    /// It could not be written.
    pub fn note_all(&self, actor: &Actor, found: &[(ServiceName, u64)]) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        self.change(actor, |file| {
            for (service, generation) in found {
                let seen = file.generations.entry(service.clone()).or_default();
                *seen = (*generation).max(*seen);
            }
        })
    }

    /// Takes a generation for the present one, whatever was seen: it was accepted.
    fn set(&self, actor: &Actor, service: &ServiceName, generation: u64) -> Result<()> {
        self.change(actor, |file| {
            file.generations.insert(service.clone(), generation);
        })
    }

    /// Forgets an actor whose secrets are gone.
    ///
    /// # Errors
    /// The file is still there.
    pub fn forget(&self, actor: &Actor) -> Result<()> {
        if let Some(folder) = Folder::open(&self.folder)? {
            let _lock = folder.lock()?;
            folder.remove(&name(actor))?;
        }
        Ok(())
    }

    fn change(&self, actor: &Actor, change: impl FnOnce(&mut File)) -> Result<()> {
        let folder = Folder::create(&self.folder)?;
        let _lock = folder.lock()?;
        let mut file = self.read(&folder, actor)?;
        change(&mut file);
        let bytes = serde_json::to_vec(&file).map_err(|_| self.damaged(actor))?;
        folder.replace(&name(actor), &bytes)?;
        Ok(())
    }

    fn read(&self, folder: &Folder, actor: &Actor) -> Result<File> {
        let Some(bytes) = folder.read(&name(actor), Privacy::Trusted)? else {
            return Ok(File::default());
        };
        serde_json::from_slice(&bytes).map_err(|_| self.damaged(actor))
    }

    /// Never taken for empty: that would let an old envelope pass.
    fn damaged(&self, actor: &Actor) -> SecretError {
        let path = self.folder.join(name(actor));
        SecretError::new(
            Kind::Failed,
            format!("{} is not what was written to it", path.display()),
            "move it away; until a secret was read again, an older one is not recognised",
        )
    }
}

/// Refuses a generation that nobody reaches by storing. It is in the open part of an envelope,
/// which whoever may write to the bucket has made up.
///
/// # Errors
/// [`Reason::EnvelopeInvalid`].
pub(crate) fn refuse_made_up(service: &ServiceName, generation: u64) -> Result<()> {
    if generation <= HIGHEST {
        return Ok(());
    }
    let text =
        format!("the envelope of {service} has generation {generation}, which nobody reaches");
    let hint =
        "find out who may write to the bucket, delete the object, and store the secret again";
    Err(SecretError {
        hint: hint.into(),
        ..SecretError::because(Reason::EnvelopeInvalid, text)
    })
}

/// The generation that follows this one, in the bucket, and what was seen.
///
/// # Errors
/// [`Reason::EnvelopeInvalid`] if one of them is made up.
pub(crate) fn following(service: &ServiceName, there: u64, seen: Option<u64>) -> Result<u64> {
    let highest = there.max(seen.unwrap_or(0));
    refuse_made_up(service, highest)?;
    Ok(highest + 1)
}

/// Refuses a generation below what was seen.
///
/// # Errors
/// [`Reason::EnvelopeRollback`].
pub(crate) fn refuse_older(
    seen: Option<u64>,
    service: &ServiceName,
    generation: u64,
) -> Result<()> {
    match seen {
        Some(seen) if seen > generation => Err(SecretError::because(
            Reason::EnvelopeRollback,
            format!(
                "the bucket shows generation {generation} of {service}, and generation {seen} was seen here"
            ),
        )),
        _ => Ok(()),
    }
}

fn name(actor: &Actor) -> String {
    format!("{actor}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_generation_is_refused_until_it_is_accepted() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let seen = Seen::new(&Paths::under(home.path()));
        let actor = Actor::from_oidc("https://i", "ada").expect("an actor");
        let other = actor.agent("bot").expect("an actor");
        let service: ServiceName = "openrouter".parse().expect("a name");
        seen.check(&actor, &service, 0).expect("nothing was seen");
        seen.note(&actor, &service, 3).expect("written");
        seen.note(&actor, &service, 2).expect("nothing to write");
        seen.check(&actor, &service, 3).expect("the same");
        seen.check(&actor, &service, 4).expect("a later one");
        seen.check(&other, &service, 1).expect("another's");
        let refused = seen.check(&actor, &service, 2).expect_err("older");
        assert_eq!(refused.reason, Some(Reason::EnvelopeRollback));
        assert_eq!(refused.kind, Kind::Conflict);
        seen.set(&actor, &service, 2).expect("accepted");
        seen.check(&actor, &service, 2).expect("accepted");
        seen.stored(&actor, &service, 4).expect("a later one");
        let refused = seen.stored(&actor, &service, 3).expect_err("older");
        assert_eq!(refused.reason, Some(Reason::EnvelopeRollback));
        assert!(refused.message.contains("is stored, but"), "{refused}");
        assert_eq!(seen.of(&actor, &service).expect("readable"), Some(4));
        seen.forget(&actor).expect("gone");
        assert_eq!(seen.of(&actor, &service).expect("readable"), None);
    }

    #[test]
    fn the_generation_that_follows_is_a_higher_one_or_none() {
        let service: ServiceName = "openrouter".parse().expect("a name");
        let following = |there, seen| following(&service, there, seen).ok();
        assert_eq!(following(0, None), Some(1));
        assert_eq!(following(3, Some(5)), Some(6));
        assert_eq!(following(HIGHEST, None), Some(HIGHEST + 1));
        for made_up in [HIGHEST + 1, u64::MAX] {
            assert_eq!(following(made_up, Some(1)), None);
            assert_eq!(following(1, Some(made_up)), None);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_not_an_empty_one() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let seen = Seen::new(&Paths::under(home.path()));
        let actor = Actor::from_oidc("https://i", "ada").expect("an actor");
        let service: ServiceName = "openrouter".parse().expect("a name");
        seen.note(&actor, &service, 3).expect("written");
        std::fs::write(seen.folder.join(name(&actor)), "{").expect("damaged");
        let error = seen.check(&actor, &service, 3).expect_err("damaged");
        assert!(error.message.contains("is not what was written"), "{error}");
    }
}
