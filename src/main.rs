//! The `rowbridge` program: arguments → configuration → log → runtime → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rowbridge::cli::main()
}
