//! The peers, with another allocator than the system's: an application may choose one too.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    p2p_serve::main()
}
