//! A browser as a test needs it: it keeps cookies, follows nothing by itself, and fills in forms.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Request;

use super::{Answer, Lab};

/// The cookies that one browser has.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, lab: &Lab, path: &str) -> Answer {
        self.send(lab, "GET", path, None).await
    }

    /// Sends a form as it is.
    pub(crate) async fn post(&mut self, lab: &Lab, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send(lab, "POST", path, Some(body)).await
    }

    /// Sends a form of a page, with the token that the page has.
    pub(crate) async fn submit(
        &mut self,
        lab: &Lab,
        page: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let csrf = csrf(&self.get(lab, page).await.text);
        let fields: Vec<_> = [("csrf", csrf.as_str())]
            .into_iter()
            .chain(fields.iter().copied())
            .collect();
        self.post(lab, path, &fields).await
    }

    async fn send(&mut self, lab: &Lab, method: &str, path: &str, body: Option<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let body = match body {
            None => Body::empty(),
            Some(text) => {
                request = request.header("content-type", "application/x-www-form-urlencoded");
                Body::from(text)
            }
        };
        let answer = lab.send(request.body(body).unwrap()).await;
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        for line in set_cookies(answer) {
            let (pair, attributes) = line.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
    }
}

/// The lines that set cookies.
pub(crate) fn set_cookies(answer: &Answer) -> Vec<&str> {
    let lines = answer.headers.get_all("set-cookie").iter();
    lines.map(|line| line.to_str().unwrap()).collect()
}

/// The token of a page's forms.
#[track_caller]
pub(crate) fn csrf(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect(page);
    rest.split_once('"').unwrap().0.to_owned()
}

/// Where an answer sends the browser.
#[track_caller]
pub(crate) fn location(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.headers["location"].to_str().unwrap()
}
