//! Issuing a key step by step.

use std::time::Duration;

use crate::{Error, Grant, KeyHandle, NewKey, Provider, Result, Step};

/// A key on its way. The caller takes one step after the other and may keep the
/// [`handle`](Self::handle) between them; it may also stop anywhere and begin again, since
/// every step may be repeated.
pub struct Issuing<'a> {
    provider: &'a dyn Provider,
    grant: &'a Grant,
    handle: KeyHandle,
    left: &'static [Step],
    key: Option<NewKey>,
}

/// A key that was not issued.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// Why what had been made is still there; `None` when all was taken back.
    pub left_over: Option<Box<Error>>,
}

/// How often a step is taken that may pass, and how long the first pause is.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A store that wants to be left alone for longer gets its way: the caller decides.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

impl<'a> Issuing<'a> {
    /// Begins, or begins again with what is known of an earlier attempt.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the store cannot make such a key; [`Error::Invalid`] for
    /// a handle of another credential.
    pub fn begin(
        provider: &'a dyn Provider,
        grant: &'a Grant,
        handle: Option<KeyHandle>,
    ) -> Result<Self> {
        let handle = handle.unwrap_or_else(|| KeyHandle::new(grant.credential));
        if handle.credential != grant.credential {
            return Err(Error::invalid("the handle is of another credential"));
        }
        Ok(Self {
            left: provider.steps(grant)?,
            provider,
            grant,
            handle,
            key: None,
        })
    }

    /// The step that [`advance`](Self::advance) would take; `None` when all are taken.
    pub fn next_step(&self) -> Option<Step> {
        self.left.first().copied()
    }

    /// Takes the next step. After an error the same step is still the next one.
    ///
    /// # Errors
    /// What the store says.
    pub async fn advance(&mut self) -> Result<()> {
        let Some((&step, rest)) = self.left.split_first() else {
            return Ok(());
        };
        let made = self
            .provider
            .take_step(step, self.grant, &mut self.handle)
            .await?;
        self.key = made.or(self.key.take());
        self.left = rest;
        Ok(())
    }

    /// What there is at the store so far.
    pub fn handle(&self) -> &KeyHandle {
        &self.handle
    }

    /// The handle and the key, once all steps are taken; before that, no key.
    pub fn finish(self) -> (KeyHandle, Option<NewKey>) {
        let key = self.key.filter(|_| self.left.is_empty());
        (self.handle, key)
    }
}

/// Issues a key with patience: a step that may pass is taken again, and what was made is
/// taken back when it does not.
///
/// # Errors
/// [`Failed`], which also says whether something is left over.
pub async fn issue(
    provider: &dyn Provider,
    grant: &Grant,
) -> std::result::Result<(KeyHandle, NewKey), Failed> {
    let nothing_made = |error| Failed {
        error,
        left_over: None,
    };
    let mut issuing = Issuing::begin(provider, grant, None).map_err(nothing_made)?;
    let mut pauses = Pauses::new();
    while issuing.next_step().is_some() {
        let Err(error) = issuing.advance().await else {
            pauses = Pauses::new();
            continue;
        };
        if !pauses.pause(&error).await {
            return Err(take_back(provider, issuing.handle(), error).await);
        }
    }
    match issuing.finish() {
        (handle, Some(key)) => Ok((handle, key)),
        (handle, None) => {
            let error = Error::invalid("the store's steps made no key");
            Err(take_back(provider, &handle, error).await)
        }
    }
}

/// Asks again what may pass, a few times, as long as the store wants to be left alone.
///
/// # Errors
/// The last answer.
pub async fn patiently<T, F: Future<Output = Result<T>>>(mut ask: impl FnMut() -> F) -> Result<T> {
    let mut pauses = Pauses::new();
    loop {
        let error = match ask().await {
            Err(error) => error,
            answer => return answer,
        };
        if !pauses.pause(&error).await {
            return Err(error);
        }
    }
}

async fn take_back(provider: &dyn Provider, handle: &KeyHandle, error: Error) -> Failed {
    let left_over = patiently(|| provider.revoke(handle)).await;
    let left_over = left_over.err().map(Box::new);
    Failed { error, left_over }
}

struct Pauses {
    taken: u32,
}

impl Pauses {
    fn new() -> Self {
        Self { taken: 0 }
    }

    /// Waits before another attempt; says `false` where there shall be none.
    async fn pause(&mut self, error: &Error) -> bool {
        let wanted = error
            .retry_after()
            .unwrap_or(FIRST_PAUSE * 2_u32.pow(self.taken));
        if !error.may_pass() || self.taken + 1 >= ATTEMPTS || wanted > LONGEST_PAUSE {
            return false;
        }
        self.taken += 1;
        tokio::time::sleep(wanted).await;
        true
    }
}
