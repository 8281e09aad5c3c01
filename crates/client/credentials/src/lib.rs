//! client/credentials
