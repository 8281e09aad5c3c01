//! Names with `..`: whether they lead out of the own prefix.
//!
//! A policy compares the name as it is written, and `bots/ME/credentials/../../YOU/credentials/x`
//! begins as the own prefix does. That is no danger where the store refuses such names or keeps them
//! as they are, as keys of the own prefix; it is one where the store, after it has asked the
//! policy, resolves them. What a store does is seen where it may be seen: each call is first made
//! with a name that leads by `..` from the own prefix back into it, then with one that leads to
//! another's. The second must be refused with `AccessDenied`, or be answered as the first was
//! while the first has not reached the object that it would lead to.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;

use super::report::Report;
use super::told::Told;

/// How `..` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Plain,
    /// Its dots percent-encoded.
    Dots,
    /// Its slash percent-encoded.
    Slash,
    /// Encoded twice: a store that decodes once too often resolves it.
    Twice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Get,
    CopyFrom,
    CopyTo,
    List,
    Delete,
}

/// Who asks, and the names.
pub(super) struct Traversal<'a> {
    pub(super) mine: &'a Client,
    pub(super) bucket: &'a str,
    pub(super) actor: &'a str,
    pub(super) other: &'a str,
    /// The name of an object in the own prefix.
    pub(super) there: &'a str,
    /// A name that nothing has.
    pub(super) fresh: String,
}

impl Traversal<'_> {
    /// Every call, in every form.
    pub(super) async fn run(&self, report: &mut Report) {
        for form in [Form::Plain, Form::Dots, Form::Slash, Form::Twice] {
            for verb in [
                Verb::Put,
                Verb::Get,
                Verb::CopyFrom,
                Verb::CopyTo,
                Verb::List,
                Verb::Delete,
            ] {
                // A query is encoded by whoever sends it: there is one form, and the twice encoded.
                if verb == Verb::List && matches!(form, Form::Dots | Form::Slash) {
                    continue;
                }
                let name = format!("{verb} by a name with {form} does not leave the own prefix");
                report.add(name, self.stays(verb, form).await);
                self.tidy(form).await;
            }
        }
    }

    async fn stays(&self, verb: Verb, form: Form) -> Result<(), String> {
        let back = self.ask(verb, form, self.actor).await;
        let reached = self.reached(verb, &back).await;
        let away = self.ask(verb, form, self.other).await;
        judged(&away.told, &back.told, reached?)
    }

    /// A name in the prefix of `of`, by way of the own one.
    fn key(&self, form: Form, of: &str, name: &str) -> String {
        let up = match form {
            Form::Twice => "%2e%2e/",
            _ => "../",
        };
        format!(
            "bots/{}/credentials/{up}{up}{of}/credentials/{name}",
            self.actor
        )
    }

    fn own(&self, name: &str) -> String {
        format!("bots/{}/credentials/{name}", self.actor)
    }

    async fn ask(&self, verb: Verb, form: Form, of: &str) -> Answer {
        let answer = self
            .once(
                verb,
                Written {
                    form,
                    signed: false,
                },
                of,
            )
            .await;
        if !answer.told.is("SignatureDoesNotMatch") {
            return answer;
        }
        // A store that signs what came, and not what it means.
        self.once(verb, Written { form, signed: true }, of).await
    }

    async fn once(&self, verb: Verb, written: Written, of: &str) -> Answer {
        let (mine, bucket) = (self.mine, self.bucket);
        let key = |name: &str| self.key(written.form, of, name);
        let told = match verb {
            Verb::Put => {
                let call = mine.put_object().bucket(bucket).key(key(&self.fresh));
                let call = call.body(super::probes::BODY.to_vec().into());
                Told::of(&call.customize().interceptor(written).send().await)
            }
            Verb::Get => {
                let call = mine.get_object().bucket(bucket).key(key(self.there));
                Told::of(&call.customize().interceptor(written).send().await)
            }
            Verb::CopyFrom => {
                let source = written.form.in_header(&key(self.there));
                let call = mine.copy_object().bucket(bucket).key(self.own(&self.fresh));
                let call = call.copy_source(format!("{bucket}/{source}"));
                Told::of(&call.send().await)
            }
            Verb::CopyTo => {
                let call = mine.copy_object().bucket(bucket).key(key(&self.fresh));
                let call = call.copy_source(format!("{bucket}/{}", self.own(self.there)));
                Told::of(&call.customize().interceptor(written).send().await)
            }
            Verb::Delete => {
                let call = mine.delete_object().bucket(bucket).key(key(self.there));
                Told::of(&call.customize().interceptor(written).send().await)
            }
            Verb::List => {
                let call = mine.list_objects_v2().bucket(bucket).prefix(key(""));
                let listed = call.send().await;
                let told = Told::of(&listed);
                let listed = listed.ok().and_then(|listed| listed.contents);
                let keys = listed.into_iter().flatten().filter_map(|object| object.key);
                return Answer {
                    told,
                    keys: keys.collect(),
                };
            }
        };
        Answer {
            told,
            keys: Vec::new(),
        }
    }

    /// Whether a call by the name that leads back has reached what it leads to.
    async fn reached(&self, verb: Verb, back: &Answer) -> Result<bool, String> {
        match verb {
            Verb::Get | Verb::CopyFrom => Ok(back.told == Told::Done),
            Verb::Put | Verb::CopyTo => self.is_there(&self.fresh).await,
            Verb::Delete => Ok(!self.is_there(self.there).await?),
            Verb::List => Ok(back.keys.iter().any(|key| key.ends_with(self.there))),
        }
    }

    async fn is_there(&self, name: &str) -> Result<bool, String> {
        let call = self.mine.get_object().bucket(self.bucket);
        match Told::of(&call.key(self.own(name)).send().await) {
            Told::Done => Ok(true),
            told if told.is("NoSuchKey") => Ok(false),
            told => Err(format!("looking what it did: {}", told.shown())),
        }
    }

    /// What was made is taken back, where that is allowed, and what was taken away is put back; the
    /// check has judged already.
    async fn tidy(&self, form: Form) {
        let (mine, bucket) = (self.mine, self.bucket);
        let delete = |key: String| mine.delete_object().bucket(bucket).key(key).customize();
        for of in [self.actor, self.other] {
            for signed in [false, true] {
                let call = delete(self.key(form, of, &self.fresh));
                let _ = call.interceptor(Written { form, signed }).send().await;
            }
        }
        let _ = delete(self.own(&self.fresh)).send().await;
        let put = mine.put_object().bucket(bucket).key(self.own(self.there));
        let _ = put.body(super::probes::BODY.to_vec().into()).send().await;
    }
}

struct Answer {
    told: Told,
    keys: Vec<String>,
}

fn judged(away: &Told, back: &Told, reached: bool) -> Result<(), String> {
    match away {
        told if told.is_denied() => return Ok(()),
        Told::Nothing(_) => return Err(away.shown()),
        Told::Refused { status, .. } if *status >= 500 => return Err(away.shown()),
        _ if reached => {
            return Err(format!(
                "the store resolves such names, and said to this one: {}",
                away.shown()
            ));
        }
        _ => {}
    }
    match away.kind() == back.kind() {
        true => Ok(()),
        false => Err(format!(
            "it may lead to another's: {}; while back into the own prefix: {}",
            away.shown(),
            back.shown()
        )),
    }
}

impl Form {
    /// As it stands in a request's address.
    fn on_wire(self, address: &str) -> String {
        match self {
            Self::Plain | Self::Twice => address.to_owned(),
            Self::Dots => address.replace("../", "%2e%2e/"),
            Self::Slash => address.replace("../", "..%2f"),
        }
    }

    /// As it stands in a header, which nobody encodes further.
    fn in_header(self, key: &str) -> String {
        match self {
            Self::Twice => key.replace('%', "%25"),
            _ => self.on_wire(key),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "../",
            Self::Dots => "%2e%2e/",
            Self::Slash => "..%2f",
            Self::Twice => "%252e%252e/",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "PutObject",
            Self::Get => "GetObject",
            Self::CopyFrom => "CopyObject from",
            Self::CopyTo => "CopyObject to",
            Self::List => "listing",
            Self::Delete => "DeleteObject",
        })
    }
}

/// Writes a request's address in a form that the SDK does not make, before or after signing.
#[derive(Debug)]
struct Written {
    form: Form,
    signed: bool,
}

impl Written {
    fn rewrite(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let address = self.form.on_wire(request.uri());
        Ok(request.set_uri(address)?)
    }
}

impl Intercept for Written {
    fn name(&self) -> &'static str {
        "Written"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match self.signed {
            true => self.rewrite(context),
            false => Ok(()),
        }
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match self.signed {
            true => Ok(()),
            false => self.rewrite(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, status: u16) -> Told {
        Told::Refused {
            code: code.to_owned(),
            status,
            words: String::new(),
        }
    }

    #[test]
    fn only_a_refusal_or_a_name_taken_as_it_stands_passes() {
        let (denied, gone) = (refused("AccessDenied", 403), refused("NoSuchKey", 404));
        let (bad, down) = (refused("InvalidURI", 400), refused("InternalError", 500));
        // A store that resolves first and asks the policy then.
        assert!(judged(&denied, &Told::Done, true).is_ok());
        // One that keeps names as they are, and one that takes none of them.
        assert!(judged(&Told::Done, &Told::Done, false).is_ok());
        assert!(judged(&gone, &gone, false).is_ok());
        assert!(judged(&bad, &bad, false).is_ok());
        // One that asks the policy first and resolves then.
        assert!(judged(&Told::Done, &Told::Done, true).is_err());
        assert!(judged(&gone, &Told::Done, true).is_err());
        // What cannot be told apart is no pass.
        assert!(judged(&Told::Done, &gone, false).is_err());
        assert!(judged(&bad, &Told::Done, false).is_err());
        assert!(judged(&down, &down, false).is_err());
        assert!(judged(&Told::Nothing("cut".into()), &gone, false).is_err());
    }
}
