//! The built binary as a script sees it: its help, and what it says of a configuration.

#![expect(clippy::unwrap_used, reason = "a failed fixture is a failed test")]

use std::process::{Command, Output};

use tempfile::TempDir;

fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloakroom-injector")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn help_of_every_command() {
    for command in ["", "serve", "check", "config", "config check", "completions", "version"] {
        let output = run(command.split_whitespace().chain(["--help"]));
        assert_eq!(output.status.code(), Some(0), "{command}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        insta::assert_snapshot!(format!("help {command}").trim().replace(' ', "_"), text);
    }
}

#[test]
fn a_profile_that_no_agent_would_take_is_refused_by_check_and_by_serve_alike() {
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("injector.yaml");
    let text = "{image: cloakroom:1, profiles: {default: {config: {backend: {kind: kubernetes}, cache: {tll: 5m}}}}}";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let serve = ["serve", "--config", config, "--namespace", "n", "--certificate-dir", "/nowhere"];
    for arguments in [&serve[..], &["config", "check", config]] {
        let output = run(arguments.iter().copied());
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("profiles.default.config.cache: unknown key `tll`; there are "), "{said}");
    }
    std::fs::write(config, text.replace("tll", "ttl")).unwrap();
    let output = run(["config", "check", config]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"ok\n"[..]), "{output:?}");
}
