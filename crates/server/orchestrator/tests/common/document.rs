//! Every answer that a test sees, against the document of the interface: its status is one that
//! the endpoint says it has, its body is of the form that belongs to that; and what was accepted
//! of a request is of the form that the document asks for.

use std::collections::HashMap;
use std::sync::LazyLock;

use artifacts_orchestrator as orchestrator;
use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::Value;

use super::Answer;

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document {
    value: serde_json::to_value(orchestrator::document()).unwrap(),
    validators: Mutex::default(),
});

/// The document, with what was made of its schemas.
pub(crate) struct Document {
    pub(crate) value: Value,
    validators: Mutex<HashMap<String, Validator>>,
}

pub(crate) fn document() -> &'static Document {
    &DOCUMENT
}

impl Document {
    /// Fails if the answer is none that the document knows of.
    #[track_caller]
    pub(crate) fn check_answer(&self, method: &str, path: &str, answer: &Answer) {
        let Some(template) = self.template(path) else {
            let is_json = answer.content_type() == "application/json";
            let is_known = is_json && answer.status != 404;
            assert!(!is_known, "no document of {method} {path}: {answer:?}");
            return;
        };
        let operation = pointer(&["paths", template, &method.to_lowercase()]);
        if self.value.pointer(&operation).is_none() {
            assert_eq!(answer.status, 405, "no document of {method} {template}");
            return;
        }
        let status = answer.status.as_u16().to_string();
        let response = format!("{operation}{}", pointer(&["responses", &status]));
        let Some(response) = self.resolved(&response) else {
            panic!("{method} {template} has no answer {status} in the document: {answer:?}");
        };
        let contents = self.value.pointer(&format!("{response}/content"));
        let Some(contents) = contents.and_then(Value::as_object) else {
            assert_eq!(
                answer.text, "",
                "{method} {template} says nothing by {status}"
            );
            return;
        };
        let kind = answer.content_type();
        assert!(
            contents.contains_key(kind),
            "{method} {template}: {answer:?}"
        );
        if kind == "application/json" {
            let schema = format!("{response}{}", pointer(&["content", kind, "schema"]));
            self.check(&schema, &answer.json());
        }
    }

    /// Fails if the document asks for another body than one that was accepted.
    #[track_caller]
    pub(crate) fn check_request(&self, method: &str, path: &str, body: &Value) {
        let Some(template) = self.template(path) else {
            return;
        };
        let method = method.to_lowercase();
        let content = ["requestBody", "content", "application/json", "schema"];
        let schema = pointer(&["paths", template, &method]) + &pointer(&content);
        self.check(&schema, body);
    }

    /// The problems of a value by the schema of a component.
    pub(crate) fn is_component(&self, name: &str, value: &Value) -> bool {
        self.problems(&pointer(&["components", "schemas", name]), value)
            .is_empty()
    }

    #[track_caller]
    fn check(&self, schema: &str, value: &Value) {
        let problems = self.problems(schema, value);
        assert!(problems.is_empty(), "{schema}: {problems:?}: {value}");
    }

    fn problems(&self, schema: &str, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock();
        let validator = validators.entry(schema.to_owned()).or_insert_with(|| {
            // With everything that it may point to.
            let mut root = self.value.pointer(schema).unwrap().clone();
            root["components"] = self.value["components"].clone();
            jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&root)
                .unwrap()
        });
        let problems = validator.iter_errors(value);
        problems.map(|problem| problem.to_string()).collect()
    }

    /// The path of the document that a request's path is one of: the one with the fewest
    /// placeholders (OpenAPI 3.1, "Paths Object").
    fn template(&self, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap();
        let fits = |template: &&String| {
            let (a, b) = (template.split('/'), path.split('/'));
            a.clone().count() == b.clone().count()
                && a.zip(b).all(|(a, b)| a == b || a.starts_with('{'))
        };
        let paths = self.value["paths"].as_object().unwrap().keys();
        let placeholders = |template: &&String| template.matches('{').count();
        paths
            .filter(fits)
            .min_by_key(placeholders)
            .map(String::as_str)
    }

    /// Where something is: there, or where that points to.
    fn resolved(&self, place: &str) -> Option<String> {
        let found = self.value.pointer(place)?;
        match found["$ref"].as_str() {
            None => Some(place.to_owned()),
            Some(other) => Some(other.trim_start_matches('#').to_owned()),
        }
    }
}

/// RFC 6901.
fn pointer(names: &[&str]) -> String {
    let escaped = |name: &&str| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    names.iter().map(escaped).collect()
}
