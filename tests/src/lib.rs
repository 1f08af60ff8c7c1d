//! What the tests of this workspace share.
//!
//! - [`chain`]: a regtest chain, mined on the spot, and the answers of a node that has it.

pub mod chain;
