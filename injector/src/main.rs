//! The `cloakroom-injector` binary: hands its arguments and its environment to the library, once.

use std::process::ExitCode;

use cloakroom_agent::cli::Console;
use cloakroom_injector::cli::{self, Environment};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &Environment::of(std::env::vars_os()), &mut Console::standard()).into()
}
