//! The peers, with the system's allocator.

use std::process::ExitCode;

#[cfg(feature = "heap")]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    #[cfg(feature = "heap")]
    let _profiler = dhat::Profiler::new_heap();
    p2p_serve::main()
}
