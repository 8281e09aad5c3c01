//! What a form sent: checked to be the session's own before anything else of it is looked at.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use base::Failure;
use base::extract::Form;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::visitor::{Turned, Visitor, check_csrf};
use crate::app::App;
use crate::auth::Caller;
use crate::layers::RequestContext;

/// A form of somebody with a session.
pub(super) struct Post {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

/// The fields by their names.
pub(super) struct Fields(HashMap<String, String>);

impl Post {
    /// As whom the form does what it does.
    pub(super) fn caller(&self) -> Caller {
        self.visitor.caller.clone()
    }
}

impl FromRequest<Arc<App>> for Post {
    type Rejection = Turned;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Turned> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let context = RequestContext::of(&parts.extensions);
        let request = Request::from_parts(parts, body);
        let fields = Fields::from_request(request, app).await?;
        check_csrf(&visitor.csrf, fields.text("csrf"), &context)?;
        Ok(Self { visitor, fields })
    }
}

impl FromRequest<Arc<App>> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        let Form(fields) = Form::from_request(request, app).await?;
        Ok(Self(fields))
    }
}

impl Fields {
    /// What was typed or chosen; `None` for nothing.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// A field that may be left empty. `label` is what the page calls it.
    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        name: &str,
        label: &str,
    ) -> Result<Option<T>, Failure> {
        self.text(name).map(|text| parse(text, label)).transpose()
    }

    /// A field that must be filled in.
    pub(super) fn required<T: DeserializeOwned>(
        &self,
        name: &str,
        label: &str,
    ) -> Result<T, Failure> {
        let missing = || Failure::invalid(format!("{label} is empty"));
        parse(self.text(name).ok_or_else(missing)?, label)
    }

    /// A length of time, chosen in seconds.
    pub(super) fn lifetime(
        &self,
        name: &str,
        label: &str,
    ) -> Result<Option<api::Lifetime>, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wrong = || Failure::invalid(format!("{label} is no number of seconds"));
        let seconds: u32 = text.parse().map_err(|_| wrong())?;
        let lifetime = seconds.try_into();
        lifetime
            .map(Some)
            .map_err(|error: api::InvalidLifetime| Failure::invalid(format!("{label}: {error}")))
    }
}

/// By the rule of the wire's type.
fn parse<T: DeserializeOwned>(text: &str, label: &str) -> Result<T, Failure> {
    let source: StrDeserializer<'_, Error> = text.into_deserializer();
    T::deserialize(source).map_err(|error| Failure::invalid(format!("{label}: {error}")))
}
