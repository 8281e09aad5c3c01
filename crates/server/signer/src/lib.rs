//! Holds K3 and derives key-encryption keys for those who may have them.
