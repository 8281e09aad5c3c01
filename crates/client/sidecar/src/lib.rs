//! The local daemon of the vault: a cache of capabilities behind a Unix socket.
