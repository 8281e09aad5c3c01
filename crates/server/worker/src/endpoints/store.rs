//! `POST /v1/cred/store`: one credential, sealed.

use std::time::Duration;

use api::vault::{LONGEST_PLAINTEXT, Reason, StoreCredential, StoredCredential};
use bucket::{Body, Condition, Error, Etag, Key, PutOptions};
use bytes::Bytes;
use vault::{EnvelopeError, Kek, Op, Place, header, seal};
use zeroize::Zeroizing;

use super::objects::{Objects, Read, Trouble, audited, kek, key};
use super::{Endpoint, Subject};
use crate::app::{App, Newest};
use crate::checks::Admitted;
use crate::intake::LONGEST;
use crate::outcome::Story;
use crate::refused::{Refused, Result};

/// How often another writer may be first.
const TRIES: u32 = 8;

pub(crate) struct Store;

impl Endpoint for Store {
    const OP: Op = Op::Store;
    const PATH: &'static str = "/v1/cred/store";
    const LONGEST: usize = LONGEST;

    type Request = StoreCredential;
    type Answer = StoredCredential;

    fn subject(request: &StoreCredential) -> Subject<'_> {
        Subject {
            cap: &request.cap,
            service: Some(&request.service),
            target: None,
            label: None,
        }
    }

    fn check(request: &StoreCredential) -> Result<()> {
        let text = request.plaintext.expose();
        let length = base64_simd::STANDARD
            .check(text.as_bytes())
            .map(|()| decoded_length(text));
        match length {
            Ok(0..=LONGEST_PLAINTEXT) => Ok(()),
            Ok(_) => Err(Reason::TooLarge.into()),
            Err(_) => {
                let text = "the credential is not in base64 (standard alphabet, padded)\nhint: use a client of the worker's version";
                Err(Refused::new(Reason::RequestInvalid, text))
            }
        }
    }

    async fn perform(
        app: &App,
        request: StoreCredential,
        admitted: Admitted,
        story: &mut Story,
    ) -> Result<StoredCredential> {
        let plaintext = decode(request.plaintext.expose())?;
        let Admitted {
            operator,
            owner,
            epoch,
        } = admitted;
        let place = Place {
            operator: &operator,
            actor: &owner,
            service: &request.service,
        };
        story.0.epoch = Some(epoch);
        let storing = Storing {
            app,
            objects: Objects::of(app, &owner, request.cap.expose()),
            key: key(place.object_key())?,
            kek: kek(app, &operator, &owner, epoch).await?,
            place,
            epoch,
            expected: request.expected_generation,
        };
        audited(app).await?;
        let stored = storing.run(&plaintext, story).await?;
        let generation = stored.generation;
        app.seen.note(&place, stored);
        story.0.generation = Some(generation);
        Ok(StoredCredential {
            service: request.service,
            epoch,
            generation,
        })
    }
}

struct Storing<'a> {
    app: &'a App,
    objects: Objects<'a>,
    key: Key,
    kek: Kek,
    place: Place<'a>,
    epoch: u32,
    expected: Option<u64>,
}

/// What is to be replaced.
struct Before {
    condition: Condition,
    generation: u64,
}

impl Storing<'_> {
    /// Until the envelope is in the bucket. Another writer who was first is a reason to look again,
    /// unless a generation is expected. What this worker saw last needs no look: if it is no
    /// longer there, the condition fails.
    async fn run(&self, plaintext: &[u8], story: &mut Story) -> Result<Newest> {
        if let Some(before) = self.remembered().await
            && let Some(stored) = self.replace(before, plaintext).await?
        {
            return Ok(stored);
        }
        for attempt in 0..TRIES {
            let before = self.before(story).await?;
            if let Some(stored) = self.replace(before, plaintext).await? {
                return Ok(stored);
            }
            if self.expected.is_some() {
                return Err(Reason::GenerationMismatch.into());
            }
            tokio::time::sleep(Duration::from_millis(5 << attempt)).await;
        }
        let text = "others are storing this credential all the time\nhint: try again in a moment";
        Err(Refused::new(Reason::GenerationMismatch, text))
    }

    async fn remembered(&self) -> Option<Before> {
        let newest = self.app.seen.newest(&self.place)?;
        let etag = newest.etag?;
        let wanted = self.expected.is_none_or(|it| it == newest.generation);
        if !wanted || !has_room_above(newest.generation) || !self.bucket_compares().await {
            return None;
        }
        Some(Before {
            condition: Condition::Matches(etag),
            generation: newest.generation,
        })
    }

    /// Whether the bucket refuses a write whose condition fails, found out once. One that does
    /// not would let a newer envelope be replaced unseen. No answer is found out the next time.
    async fn bucket_compares(&self) -> bool {
        let compares = &self.app.bucket_compares;
        let prefix = Place::prefix(self.place.actor);
        let look = || async {
            let asked = self.objects.ask(|bucket| {
                let prefix = &prefix;
                async move { bucket::probe::put_if_match(&*bucket, prefix).await }
            });
            let answer = asked.await;
            if matches!(answer, Ok(false)) {
                tracing::warn!(
                    "the bucket ignores If-Match: of two workers that store one credential, one may be lost"
                );
            }
            answer
        };
        matches!(compares.get_or_try_init(look).await, Ok(true))
    }

    /// Seals the next generation in place of what was before; nothing if that is there no longer.
    async fn replace(&self, before: Before, plaintext: &[u8]) -> Result<Option<Newest>> {
        let generation = before.generation + 1;
        let sealed = seal(&self.kek, &self.place, self.epoch, generation, plaintext);
        let envelope = Bytes::from(sealed.map_err(|error| error.reason())?);
        let etag = self.put(&envelope, before.condition).await?;
        Ok(etag.map(|etag| Newest::new(generation, etag)))
    }

    async fn before(&self, story: &mut Story) -> Result<Before> {
        match self.objects.read(&self.key).await {
            Ok(read) => self.replaced(&read, story),
            Err(Trouble::Store(Error::NotFound { .. })) => self.absent(),
            Err(trouble) => Err(trouble.into()),
        }
    }

    fn absent(&self) -> Result<Before> {
        if self.expected.is_some_and(|expected| expected != 0) {
            return Err(Reason::GenerationMismatch.into());
        }
        Ok(Before {
            condition: Condition::Absent,
            // Of one that was deleted, so that those who have seen it take the new one.
            generation: self.app.seen.highest(&self.place),
        })
    }

    fn replaced(&self, read: &Read, story: &mut Story) -> Result<Before> {
        let generation = match header(&read.bytes) {
            Ok(header) => header.generation,
            // Of a newer release, perhaps: not ours to write over.
            Err(EnvelopeError::Version(_)) => return Err(Reason::EnvelopeVersion.into()),
            Err(_) => {
                story.0.note = Some("replaced what was no envelope");
                0
            }
        };
        if self
            .expected
            .is_some_and(|expected| expected == 0 || expected != generation)
        {
            return Err(Reason::GenerationMismatch.into());
        }
        let highest = self.app.seen.highest(&self.place);
        if generation < highest {
            story.0.note = Some("replaced an older envelope than was seen before");
        }
        let generation = generation.max(highest);
        if !has_room_above(generation) {
            return Err(Reason::EnvelopeInvalid.into());
        }
        Ok(Before {
            condition: Condition::Matches(read.etag.clone()),
            generation,
        })
    }

    /// The object, if the envelope is in the bucket now; if not, another is. A lost answer makes the
    /// bucket's second look find our own envelope, so what is there decides: no other has its salt.
    async fn put(&self, envelope: &Bytes, condition: Condition) -> Result<Option<Etag>> {
        let put = self.objects.ask(|bucket| {
            let options = PutOptions {
                condition: condition.clone(),
                ..PutOptions::default()
            };
            let body = Body::Bytes(envelope.clone());
            async move { bucket.put(&self.key, body, options).await }
        });
        match put.await {
            Ok(put) => Ok(Some(put.etag)),
            // 404 is what some stores answer to If-Match where nothing is.
            Err(Trouble::Store(Error::Precondition { .. } | Error::NotFound { .. })) => {
                match self.objects.read(&self.key).await {
                    Ok(read) => Ok((read.bytes == *envelope).then_some(read.etag)),
                    Err(Trouble::Store(Error::NotFound { .. })) => Ok(None),
                    Err(trouble) => Err(trouble.into()),
                }
            }
            Err(trouble) => Err(trouble.into()),
        }
    }
}

/// Nobody stores so often: whoever wrote a higher one wants no further one to fit.
fn has_room_above(generation: u64) -> bool {
    generation <= u64::MAX / 2
}

/// Of base64 that was checked.
fn decoded_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    text.len() / 4 * 3 - padding
}

/// In a piece of memory that is wiped.
fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let decoded = base64_simd::STANDARD.decode_to_vec(text);
    decoded
        .map(Zeroizing::new)
        .map_err(|_| Reason::RequestInvalid.into())
}
