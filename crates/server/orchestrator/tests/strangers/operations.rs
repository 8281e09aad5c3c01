//! The operations, as the document has them.

use std::collections::BTreeMap;

use crate::common::document::document;
use serde_json::Value;

/// An operation as the document has it.
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    value: &'static Value,
}

pub(crate) fn operations() -> BTreeMap<&'static str, Operation> {
    let mut all = BTreeMap::new();
    for (path, item) in document().value["paths"].as_object().unwrap() {
        for (method, value) in item.as_object().unwrap() {
            let (method, path) = (method.to_uppercase(), path.clone());
            let id = value["operationId"].as_str().unwrap();
            all.insert(
                id,
                Operation {
                    method,
                    path,
                    value,
                },
            );
        }
    }
    all
}

impl Operation {
    /// Whether its path, query or body has room for the number or name of something.
    pub(crate) fn names_something(&self) -> bool {
        let parameters = self.value["parameters"].as_array();
        let mut names = parameters.into_iter().flatten();
        self.path.contains('{')
            || names.any(|parameter| is_number(parameter["name"].as_str().unwrap()))
            || self.fields().iter().any(|field| is_number(field))
    }

    fn fields(&self) -> Vec<String> {
        let contents = self.value["requestBody"]["content"].as_object();
        let mut fields = Vec::new();
        for content in contents.into_iter().flat_map(|contents| contents.values()) {
            fields_of(&content["schema"], &mut fields);
        }
        fields
    }
}

/// A `client_id` is a program's.
fn is_number(name: &str) -> bool {
    name.ends_with("_id") && name != "client_id"
}

fn fields_of(schema: &Value, fields: &mut Vec<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        let place = place.trim_start_matches('#');
        fields_of(document().value.pointer(place).unwrap(), fields);
    }
    for parts in ["allOf", "oneOf", "anyOf"] {
        for part in schema[parts].as_array().into_iter().flatten() {
            fields_of(part, fields);
        }
    }
    let properties = schema["properties"].as_object();
    fields.extend(
        properties
            .into_iter()
            .flat_map(|fields| fields.keys().cloned()),
    );
}
