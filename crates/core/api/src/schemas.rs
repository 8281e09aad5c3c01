//! How the values of `model` look on the wire, for the document of the interface: `model` itself
//! knows of no wire. The orchestrator's tests hold its rules against these patterns.

#![allow(dead_code, reason = "only their schemas are used")]

use utoipa::ToSchema;

/// The short name of a tenant.
#[derive(ToSchema)]
#[schema(pattern = "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$", example = "ada")]
pub struct Handle(String);

/// The name of a workspace, one of its tenant's.
#[derive(ToSchema)]
#[schema(pattern = "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$", example = "cases")]
pub struct WorkspaceName(String);

/// Who acts: a person or an agent, as one number.
#[derive(ToSchema)]
#[schema(pattern = "^[0-9a-f]{64}$")]
pub struct Actor(String);
