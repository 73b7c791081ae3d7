//! The injector is not part of this version: it says so and does nothing.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the one sentence that this binary has to say")]
fn main() -> ExitCode {
    eprintln!(
        "cloakroom-injector: injection is not part of this version; run the agent as a container of the pod instead"
    );
    ExitCode::FAILURE
}
