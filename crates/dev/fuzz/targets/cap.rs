//! A capability or a session.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vault::fuzzing::cap(data));
