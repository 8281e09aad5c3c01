//! Why a worker refuses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of every refusal of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A sentence for people, with what to do next as `hint:`. Never a secret.
    pub error: String,
    /// What programs act on.
    pub reason: Reason,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal;)*) => {
        /// The reasons, in the order in which a worker checks. The words are stable; new ones may
        /// be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
            /// A reason that this version does not know.
            #[serde(other)]
            Unknown,
        }

        impl Reason {
            /// All that there are.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word on the wire and in the audit.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status that it goes with.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* Self::Unknown => 500 }
            }
        }
    };
}

reasons! {
    /// The body is larger than any request needs to be.
    TooLarge = "too_large", 413;
    /// The body is not of the form that the endpoint reads.
    RequestInvalid = "request_invalid", 400;
    /// Too many requests; `Retry-After` says when to come again.
    RateLimited = "rate_limited", 429;
    /// The broker's public keys cannot be had, so that no capability can be judged.
    KeysUnavailable = "keys_unavailable", 502;
    /// The capability's form, signature, key, issuer, audience or type is wrong.
    CapSignatureInvalid = "cap_signature_invalid", 403;
    /// The capability has ended, does not count yet, or counts for too long.
    CapExpired = "cap_expired", 403;
    /// The capability is for another operation or class of data.
    CapOpMismatch = "cap_op_mismatch", 403;
    /// The capability is for another service, or another target.
    CapServiceMismatch = "cap_service_mismatch", 403;
    /// There is no proof of possession.
    ProofMissing = "proof_missing", 403;
    /// The proof is not this device's, or not for this request.
    ProofInvalid = "proof_invalid", 403;
    /// The proof was used before.
    ProofReplayed = "proof_replayed", 403;
    /// The registry does not know the device.
    DeviceUnknown = "device_unknown", 403;
    /// The device was revoked.
    DeviceRevoked = "device_revoked", 403;
    /// The registry binds the device to another operator or actor.
    DeviceBindingMismatch = "device_binding_mismatch", 403;
    /// The device does not have the role that the operation needs.
    RoleMissing = "role_missing", 403;
    /// The registry does not allow the actor this service.
    ScopeDenied = "scope_denied", 403;
    /// The registry allows reading only.
    ScopeReadOnly = "scope_read_only", 403;
    /// The capability is of another epoch than the registry's.
    EpochMismatch = "epoch_mismatch", 403;
    /// The registry does not answer, or not in a way that can be believed.
    RegistryUnavailable = "registry_unavailable", 502;
    /// The signer does not answer or refuses.
    SignerUnavailable = "signer_unavailable", 502;
    /// The bucket or its STS does not answer or refuses.
    BucketUnavailable = "bucket_unavailable", 502;
    /// No such credential is stored.
    NotFound = "not_found", 404;
    /// The credential is not at the generation that the request expects.
    GenerationMismatch = "generation_mismatch", 409;
    /// The envelope is of a version that is not opened here.
    EnvelopeVersion = "envelope_version", 500;
    /// The envelope is cut off or too long.
    EnvelopeMalformed = "envelope_malformed", 500;
    /// The envelope is not one of this place under this key, or was changed.
    EnvelopeInvalid = "envelope_invalid", 500;
    /// The envelope is older than one that was seen before.
    EnvelopeRollback = "envelope_rollback", 500;
    /// The audit cannot be written, so nothing is done.
    AuditUnavailable = "audit_unavailable", 502;
    /// A fault of the worker's own.
    Internal = "internal", 500;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
