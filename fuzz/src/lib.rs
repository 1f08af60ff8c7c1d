//! What is fuzzed: one function for each target, from any bytes to a panic or none.
//!
//! The functions need no fuzzer: `crates/p2p-proto/tests/fuzz_corpus.rs` runs them over every
//! corpus with an ordinary compiler. See "Fuzzing" in `CONTRIBUTING.md`.

mod harness;

pub use harness::*;
