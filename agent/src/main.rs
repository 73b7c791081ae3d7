//! The `cloakroom` binary: hands its arguments and its environment to the library, once.

use std::process::ExitCode;

use cloakroom_agent::cli::{self, Environment};

fn main() -> ExitCode {
    cli::main(std::env::args_os(), &Environment::new(std::env::vars_os()))
}
