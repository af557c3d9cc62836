//! The `postroom` command.

use std::process::ExitCode;

/// Bounded arenas: a server that was busy once gives its memory back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    postroom::cli::main()
}
