//! The document of the interface (OpenAPI 3.1), from what the endpoints say of themselves.
//!
//! An endpoint says what is its own. What comes from the layers and extractors that a request
//! passes through is added here, by the same rules that they follow: whoever has a body may have
//! sent too much of it, whoever needs a token may have none that counts.

use api::{ErrorBody, Event};
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Required, Schema,
};

use crate::webhooks::Sender;

/// The name of the one scheme of authorization.
const BEARER: &str = "bearer";

const ABOUT: &str = "Tenants with a bucket of their own, storage keys to it that are shown once and can be \
taken back, workspaces by name, grants, tickets and service tokens, and live changes. Errors are \
`{\"code\", \"message\"}`; programs act on the code, which is stable, and there may be new ones. \
Unknown fields are ignored, in requests and answers alike. Lists come in pages: `next_page_token` of one is \
`page_token` of the next question.";

/// Paths whose first placeholder is the number of a workspace: the router wants one name for one
/// place in a path, and there it is a handle in others.
const BY_NUMBER: &[&str] = &["/workspaces/{handle}/events", "/workspaces/{handle}/mounts"];

/// What endpoints are added to.
pub(crate) fn begun() -> OpenApi {
    // What no endpoint names: what the stream says, whose form the document cannot tell, the
    // bodies of refusals, and a word that is in paths only.
    let mut schemas = Vec::new();
    add_with_parts::<Event>(&mut schemas);
    add_with_parts::<ErrorBody>(&mut schemas);
    add_with_parts::<Sender>(&mut schemas);
    let components = refusals::all(ComponentsBuilder::new())
        .schemas_from_iter(schemas)
        .security_scheme(BEARER, bearer())
        .build();
    OpenApiBuilder::new()
        .info(info())
        .components(Some(components))
        .security(Some([SecurityRequirement::new::<_, _, &str>(BEARER, [])]))
        .build()
}

/// A type, and those that it is made of.
fn add_with_parts<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into(), T::schema()));
    T::schemas(schemas);
}

fn info() -> Info {
    InfoBuilder::new()
        .title("Artifacts orchestrator")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build()
}

fn bearer() -> SecurityScheme {
    let http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A session, a token of a configured issuer, a service token (`art_…`) or a ticket.",
        ));
    SecurityScheme::Http(http.build())
}

/// The document of all endpoints.
pub(crate) fn completed(mut document: OpenApi) -> OpenApi {
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        let path = if is_by_number(&path) {
            rename(&mut item);
            path.replacen("{handle}", "{workspace_id}", 1)
        } else {
            path
        };
        for operation in operations(&mut item) {
            complete(operation);
        }
        document.paths.paths.insert(path, item);
    }
    drop_unknown_code(&mut document);
    document
}

fn is_by_number(path: &str) -> bool {
    BY_NUMBER.iter().any(|begin| path.starts_with(begin))
}

fn rename(item: &mut PathItem) {
    for operation in operations(item) {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.name == "handle"
            {
                parameter.name = "workspace_id".into();
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// Adds the refusals that come from what is around the endpoint.
fn complete(operation: &mut Operation) {
    let mut refused = vec![408, 500, 503];
    // An empty requirement is none.
    if operation.security.is_none() {
        refused.extend([401, 403]);
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        refused.extend([413, 415, 422]);
        let may_be_left_out = operation.operation_id.as_deref() == Some("issue_credential");
        body.required = Some(if may_be_left_out {
            Required::False
        } else {
            Required::True
        });
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        match parameter.parameter_in {
            ParameterIn::Query => refused.push(422),
            ParameterIn::Path => refused.push(404),
            _ => {}
        }
    }
    for status in refused {
        let name = refusals::name(status);
        let responses = &mut operation.responses.responses;
        let refusal = || RefOr::Ref(Ref::from_response_name(name));
        responses.entry(status.to_string()).or_insert_with(refusal);
    }
}

/// The word by which an older client takes a newer server's code: no server says it.
fn drop_unknown_code(document: &mut OpenApi) {
    let schemas = document.components.as_mut().map(|all| &mut all.schemas);
    let code = schemas.and_then(|schemas| schemas.get_mut("ErrorCode"));
    if let Some(RefOr::T(Schema::Object(code))) = code {
        let values = code.enum_values.iter_mut();
        values.for_each(|values| values.retain(|value| value != "unknown"));
    }
}

/// The refusals, each once: what endpoints name, and what is added to them.
pub(crate) mod refusals {
    use api::ErrorBody;
    use utoipa::openapi::header::HeaderBuilder;
    use utoipa::openapi::{
        ComponentsBuilder, ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Type,
    };
    use utoipa::{ToResponse, ToSchema};

    macro_rules! refusals {
        ($($status:literal $name:ident $text:literal;)+) => {
            $(
                #[doc = $text]
                pub(crate) struct $name;

                impl<'r> ToResponse<'r> for $name {
                    fn response() -> (&'r str, RefOr<Response>) {
                        (stringify!($name), RefOr::T(refusal($status, $text)))
                    }
                }
            )+

            /// The name that a refusal has in the document.
            pub(super) fn name(status: u16) -> &'static str {
                match status {
                    $($status => stringify!($name),)+
                    _ => unreachable!("every status that is added has a refusal"),
                }
            }

            /// All of them, for the document.
            pub(super) fn all(components: ComponentsBuilder) -> ComponentsBuilder {
                components$(.response_from::<$name>())+
            }
        };
    }

    refusals! {
        401 Unauthenticated "There is no token, or it does not count (any more).";
        403 Forbidden "The token is good, and what was asked is not its holder's to have.";
        404 NotFound "There is no such thing, or it is not the caller's to know of.";
        408 Timeout "The request did not arrive, or was not answered, in time.";
        409 Conflict "It exists already, or its state does not allow this.";
        413 TooLarge "The body is larger than this endpoint takes.";
        415 UnsupportedMediaType "The body is of another kind than the endpoint reads.";
        422 Invalid "The request breaks a rule that the message names.";
        429 RateLimited "Too many requests.";
        500 Internal "A fault of the server's own.";
        502 ProviderFailed "The provider of buckets and keys refused. What it may have made is undone.";
        503 Unavailable "The server, its database or the provider cannot do this now.";
    }

    fn refusal(status: u16, text: &str) -> Response {
        let body = Ref::from_schema_name(ErrorBody::name());
        let content = ContentBuilder::new().schema(Some(body)).build();
        let response = ResponseBuilder::new()
            .description(text)
            .content("application/json", content);
        let header = |kind, text| {
            let header = HeaderBuilder::new().schema(Some(Object::with_type(kind)));
            header.description(Some(text)).build()
        };
        match status {
            401 => response.header(
                "WWW-Authenticate",
                header(Type::String, "The scheme: `Bearer`."),
            ),
            429 | 503 => response.header(
                "Retry-After",
                header(Type::Integer, "After how many seconds to come again."),
            ),
            _ => response,
        }
        .build()
    }
}
