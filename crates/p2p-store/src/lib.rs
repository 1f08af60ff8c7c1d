//! Where a node keeps what it knows about peers between runs.
//!
//! The records are [`p2p_core::Peer`]. There is no store in this version: nothing is kept.
