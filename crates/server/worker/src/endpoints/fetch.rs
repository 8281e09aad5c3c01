//! `POST /v1/cred/fetch`: one credential, opened.

use api::vault::{FetchCredential, FetchedCredential, Reason};
use secrecy::SecretString;
use vault::{Header, OldVersions, Op, Place, Plaintext, header, open};
use zeroize::Zeroize;

use super::objects::{Objects, Read, kek, key};
use super::{Endpoint, Subject};
use crate::app::{App, Newest};
use crate::checks::Admitted;
use crate::intake::SHORT;
use crate::outcome::Story;
use crate::refused::{Refused, Result};

pub(crate) struct Fetch;

impl Endpoint for Fetch {
    const OP: Op = Op::Fetch;
    const PATH: &'static str = "/v1/cred/fetch";
    const LONGEST: usize = SHORT;

    type Request = FetchCredential;
    type Answer = FetchedCredential;

    fn subject(request: &FetchCredential) -> Subject<'_> {
        Subject {
            cap: &request.cap,
            service: Some(&request.service),
            target: None,
            label: None,
        }
    }

    async fn perform(
        app: &App,
        request: FetchCredential,
        admitted: Admitted,
        story: &mut Story,
    ) -> Result<FetchedCredential> {
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
        // Before the bucket is asked: a store that ends meanwhile is no rollback.
        let highest = app
            .seen
            .highest(&place)
            .max(request.seen_generation.unwrap_or(0));
        let object = key(place.object_key())?;
        let objects = Objects::of(app, &owner, request.cap.expose());
        // Both at once, for the time that it saves; the signer's failure is still the first.
        let (kek_now, read) =
            tokio::join!(kek(app, &operator, &owner, epoch), objects.read(&object));
        let (kek_now, Read { bytes, etag }) = (kek_now?, read.map_err(Refused::from)?);
        let header = head(&bytes, epoch)?;
        story.0.epoch = Some(header.epoch);
        story.0.generation = Some(header.generation);
        let plaintext = if header.epoch == epoch {
            opened(&kek_now, &place, &bytes)?
        } else {
            drop(kek_now);
            let kek = kek(app, &operator, &owner, header.epoch).await?;
            opened(&kek, &place, &bytes)?
        };
        if header.generation < highest {
            return Err(Reason::EnvelopeRollback.into());
        }
        let generation = header.generation;
        app.seen.note(&place, Newest::new(generation, etag));
        Ok(FetchedCredential {
            plaintext: encode(&plaintext).into(),
            service: request.service,
            version: header.version,
            epoch: header.epoch,
            generation,
        })
    }
}

/// What the envelope says of itself, if it can be true. The older versions are sealed with a
/// wallet's signature, which no worker has.
fn head(bytes: &[u8], current: u32) -> Result<Header> {
    let header = header(bytes).map_err(|error| error.reason())?;
    let opened_here = OldVersions::default().check(header.version);
    opened_here.map_err(|error| error.reason())?;
    if header.epoch == 0 || header.epoch > current {
        // No such epoch has begun, so nobody can have sealed it so.
        return Err(Reason::EnvelopeInvalid.into());
    }
    Ok(header)
}

fn opened(kek: &vault::Kek, place: &Place<'_>, bytes: &[u8]) -> Result<Plaintext> {
    open(kek, place, bytes).map_err(|error| error.reason().into())
}

fn encode(plaintext: &Plaintext) -> SecretString {
    let mut text = base64_simd::STANDARD.encode_to_string(plaintext.expose());
    let secret = SecretString::from(text.as_str());
    text.zeroize();
    secret
}
