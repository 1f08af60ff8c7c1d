//! See `p2p_fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| p2p_fuzz::message(data));
