//! client/mount
