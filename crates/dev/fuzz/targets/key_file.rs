//! `byo-credentials`, and entries of the same form.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| credentials::fuzzing::key_file(data));
