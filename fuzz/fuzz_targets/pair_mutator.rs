//! See `p2p_fuzz::pair_mutator`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| p2p_fuzz::pair_mutator(data));
