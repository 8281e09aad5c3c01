//! A proof of possession.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vault::fuzzing::proof(data));
