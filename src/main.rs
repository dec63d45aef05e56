//! The program `weir`, which kubectl knows as `kubectl-weir`.

use std::process::ExitCode;

/// Worlds are many small things, and the allocator of musl, with which the image is built, is made to be small rather than fast.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
