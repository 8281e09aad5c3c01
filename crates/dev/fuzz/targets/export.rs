//! An exported keyring.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| credentials::fuzzing::export(data));
