//! What every role of the server side stands on: listening with TLS and mTLS, signing keys.
