//! See `p2p_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| p2p_fuzz::frame(data));
