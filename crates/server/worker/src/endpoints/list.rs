//! `POST /v1/cred/list`: one page of names. No key is asked for, and no envelope is read.

use api::Timestamp;
use api::vault::{ListCredentials, ListedCredential, ListedCredentials, Reason};
use bucket::{ListRequest, ObjectMeta};
use vault::{Op, Place};

use super::objects::Objects;
use super::{Endpoint, Subject};
use crate::app::App;
use crate::checks::Admitted;
use crate::intake::SHORT;
use crate::outcome::Story;
use crate::refused::{Refused, Result};

pub(crate) struct List;

impl Endpoint for List {
    const OP: Op = Op::List;
    const PATH: &'static str = "/v1/cred/list";
    const LONGEST: usize = SHORT;

    type Request = ListCredentials;
    type Answer = ListedCredentials;

    fn subject(request: &ListCredentials) -> Subject<'_> {
        Subject {
            cap: &request.cap,
            service: None,
            target: None,
            label: None,
        }
    }

    fn check(request: &ListCredentials) -> Result<()> {
        match &request.page_token {
            Some(token) if token.is_empty() || token.chars().any(char::is_control) => {
                let text = "this is not a page's token\nhint: give back the one of the page before, unchanged";
                Err(Refused::new(Reason::RequestInvalid, text))
            }
            _ => Ok(()),
        }
    }

    async fn perform(
        app: &App,
        request: ListCredentials,
        admitted: Admitted,
        story: &mut Story,
    ) -> Result<ListedCredentials> {
        let owner = admitted.owner;
        let page = ListRequest {
            prefix: Place::prefix(&owner),
            token: request.page_token.clone(),
            ..ListRequest::default()
        };
        let objects = Objects::of(app, &owner, request.cap.expose());
        let page = &page;
        let found = objects
            .ask(|bucket| async move { bucket.list(page).await })
            .await;
        let found = found.map_err(Refused::from)?;
        let credentials: Vec<_> = found
            .objects
            .iter()
            .filter_map(|object| {
                let service = Place::service_of(&owner, object.key.as_str())?;
                Some(ListedCredential {
                    service,
                    size: object.size,
                    stored_at: stored_at(object),
                })
            })
            .collect();
        let (all, listed) = (found.objects.len() as u64, credentials.len() as u64);
        story.0.listed = Some(listed);
        story.0.skipped = (all > listed).then_some(all - listed);
        Ok(ListedCredentials {
            credentials,
            next_page_token: found.next,
        })
    }
}

fn stored_at(object: &ObjectMeta) -> Timestamp {
    let micros = object.last_modified.div_euclid(1_000);
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
