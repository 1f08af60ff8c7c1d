//! The tests that need more than one crate, and room for the simulator.
