//! From a signed request to the question that its key's policy answers.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3Result, s3_error};
use secrecy::ExposeSecret;

use crate::bucket_policies::BucketPolicies;
use crate::keys::{Identity, Keys, KeysError};
use crate::policy::{Decision, Policy, Principal, Request};
use crate::sts::{Rights, RoleRights, Sessions};

/// Finds the secret that a signature is checked with.
pub(crate) struct Auth(pub(crate) Arc<Keys>, pub(crate) Arc<Sessions>);

/// Asks the policies before any operation runs.
pub(crate) struct Access {
    pub(crate) keys: Arc<Keys>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) buckets: Arc<BucketPolicies>,
}

/// Who is asking; put into the request for operations that touch more than their path.
#[derive(Clone)]
pub(crate) struct Caller {
    has: Has,
    principal: Arc<Principal>,
    buckets: Arc<BucketPolicies>,
}

/// Whose policy counts.
#[derive(Clone)]
enum Has {
    /// The holder of a key, or of a session that may do what the key may.
    Key(Arc<Identity>),
    /// Whoever has assumed a role with this policy.
    Role(Arc<Policy>),
}

#[async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if let Some(secret) = self.1.secret(access_key) {
            return Ok(secret);
        }
        let identity = find(&self.0, access_key)?;
        Ok(SecretKey::from(identity.secret.expose_secret()))
    }
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(s3_error!(AccessDenied, "the request is not signed"));
        };
        let caller = self.caller(&credentials.access_key, context)?;
        for request in asked(context)? {
            caller.may(request)?;
        }
        context.extensions_mut().insert(caller);
        Ok(())
    }
}

impl Access {
    fn caller(&self, id: &str, context: &S3AccessContext<'_>) -> S3Result<Caller> {
        let of_key = |id: &str| {
            let identity = find(&self.keys, id)?;
            let principal = Arc::clone(&identity.principal);
            Ok::<_, S3Error>((Has::Key(identity), principal))
        };
        let (has, principal) = match self.sessions.rights(id, context.headers())? {
            None => of_key(id)?,
            Some(Rights::Of(parent)) => of_key(&parent)?,
            Some(Rights::Role(role)) => {
                // The session ends with the key that assumed the role.
                if let Some(parent) = &role.parent {
                    find(&self.keys, parent)?;
                }
                let policy = match role.rights {
                    RoleRights::Fixed(policy) => policy,
                    RoleRights::Of(role) => self.of_role(&role)?,
                };
                (Has::Role(policy), role.principal)
            }
        };
        Ok(Caller {
            has,
            principal,
            buckets: Arc::clone(&self.buckets),
        })
    }

    /// What a role of IAM may do now.
    fn of_role(&self, id: &str) -> S3Result<Arc<Policy>> {
        let policy = self.keys.role_policy(id).map_err(unusable)?;
        policy.ok_or_else(|| s3_error!(AccessDenied, "the role of the session is gone"))
    }
}

impl Caller {
    /// The caller that [`Access`] put into the request.
    pub(crate) fn of(extensions: &hyper::http::Extensions) -> S3Result<Self> {
        extensions
            .get()
            .cloned()
            .ok_or_else(|| s3_error!(AccessDenied))
    }

    /// Whether the source of a copy may be read.
    pub(crate) fn may_read(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.may(Request {
            action: "s3:GetObject",
            resource: object_arn(bucket, key),
            ..Request::default()
        })
    }

    /// Whether one key of many may be deleted.
    pub(crate) fn may_delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.may(Request {
            action: "s3:DeleteObject",
            resource: object_arn(bucket, key),
            ..Request::default()
        })
    }

    /// Any Deny refuses; else either grants, the policy of who asks or the bucket's. The
    /// root key is the store's owner: no policy binds it.
    fn may(&self, request: Request<'_>) -> S3Result<()> {
        let own = match &self.has {
            Has::Key(identity) => match &identity.policy {
                None => return Ok(()),
                Some(policy) => policy,
            },
            Has::Role(policy) => policy.as_ref(),
        };
        let request = Request {
            principal: Some(Arc::clone(&self.principal)),
            ..request
        };
        let of_bucket = bucket_of(&request.resource).and_then(|bucket| self.buckets.of(bucket));
        let of_bucket = of_bucket.map_or(Decision::Silent, |policy| policy.decide(&request));
        match (own.decide(&request), of_bucket) {
            (Decision::Deny, _) | (Decision::Silent, Decision::Silent) => Err(s3_error!(
                AccessDenied,
                "the key's policy does not allow {}",
                request.action
            )),
            (_, Decision::Deny) => Err(s3_error!(
                AccessDenied,
                "the bucket's policy does not allow {}",
                request.action
            )),
            _ => Ok(()),
        }
    }
}

/// The bucket that a resource is in.
fn bucket_of(resource: &str) -> Option<&str> {
    let path = resource.strip_prefix("arn:aws:s3:::")?;
    Some(path.split_once('/').map_or(path, |(bucket, _)| bucket))
}

fn unusable(error: KeysError) -> S3Error {
    tracing::error!(%error, "the keys cannot be used: every request is refused");
    S3Error::internal_error(error)
}

fn find(keys: &Keys, id: &str) -> S3Result<Arc<Identity>> {
    keys.identity(id).map_err(unusable)?.ok_or_else(|| {
        s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        )
    })
}

/// What a request asks for. DeleteObjects asks per key, later; a copy also for its source.
fn asked<'a>(context: &'a S3AccessContext<'_>) -> S3Result<Vec<Request<'a>>> {
    let operation = context.s3_op().name();
    if operation == "DeleteObjects" {
        return Ok(Vec::new());
    }
    let Some(action) = action(operation) else {
        // Not in this store: only the root key hears "not implemented".
        return Ok(vec![Request {
            action: "s3:*",
            resource: "*".into(),
            ..Request::default()
        }]);
    };
    let resource = match context.s3_path() {
        S3Path::Root => "arn:aws:s3:::*".to_owned(),
        S3Path::Bucket { bucket } => format!("arn:aws:s3:::{bucket}"),
        S3Path::Object { bucket, key } => object_arn(bucket, key),
    };
    let mut request = Request {
        action,
        resource,
        ..Request::default()
    };
    if matches!(
        operation,
        "ListObjects" | "ListObjectsV2" | "ListMultipartUploads"
    ) {
        read_listing(context.uri().query().unwrap_or_default(), &mut request)?;
    }
    Ok(vec![request])
}

/// The action that allows an operation (Service Authorization Reference, Amazon S3).
fn action(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "ListBuckets" => "s3:ListAllMyBuckets",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "GetBucketPolicy" => "s3:GetBucketPolicy",
        "PutBucketPolicy" => "s3:PutBucketPolicy",
        "DeleteBucketPolicy" => "s3:DeleteBucketPolicy",
        "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => {
            "s3:PutLifecycleConfiguration"
        }
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "DeleteObject" => "s3:DeleteObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        _ => return None,
    })
}

fn object_arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}

/// Takes the condition keys of a listing from its query. A parameter given twice is
/// refused: which of them counts must never be a question.
fn read_listing(query: &str, request: &mut Request<'_>) -> S3Result<()> {
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let field = match decoded(name)?.as_str() {
            "prefix" => &mut request.prefix,
            "delimiter" => &mut request.delimiter,
            "max-keys" => &mut request.max_keys,
            _ => continue,
        };
        if field.replace(decoded(value)?).is_some() {
            return Err(s3_error!(InvalidArgument, "a parameter is given twice"));
        }
    }
    Ok(())
}

fn decoded(text: &str) -> S3Result<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| s3_error!(InvalidURI))
}
