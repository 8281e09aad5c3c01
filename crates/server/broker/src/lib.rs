//! Identity: sessions, the OIDC issuer, capabilities, drop events.
