//! Envelopes, key-encryption keys, capabilities and proofs: formats and cryptography, no I/O.
