//! How the program exits, one table for all subcommands; docs/reference/cli.md shows it.

use std::io;
use std::process::ExitCode;

/// It was done, and nothing speaks against going on.
pub const DONE: u8 = 0;
/// It could not be done: wrong arguments, a file or cluster that cannot be read, a permission that is missing.
pub const FAILED: u8 = 1;
/// It was done, and the answer shall stop a pipeline.
pub const STOP: u8 = 2;

/// Each code and what it means.
pub const TABLE: [(u8, &str); 3] = [
    (DONE, "It was done, and nothing speaks against going on."),
    (
        FAILED,
        "It could not be done: wrong arguments, a file or a cluster that cannot be read, a permission that is missing. \
         The message on standard error says which.",
    ),
    (
        STOP,
        "It was done, and the answer shall stop a pipeline: `weir check` has found errors (with `--strict`, warnings); by `weir what-if` somebody would be evicted.",
    ),
];

/// [`STOP`] where the answer speaks against going on.
pub fn stop_if(against: bool) -> ExitCode {
    ExitCode::from(if against { STOP } else { DONE })
}

/// Whether all that went wrong is that the reader had enough, as with `weir crds | head`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}
