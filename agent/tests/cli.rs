//! The built binary as a script sees it: help, usage, configuration, and where it looks for the socket.

#![expect(clippy::unwrap_used, reason = "a failed fixture is a failed test")]

use std::fs;

use tempfile::TempDir;

use support::{FakeAgent, ID, cloakroom, code, printed, run, run_with, said};

// In a folder of their own, because every file beside this one is a test binary.
#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/support.rs"]
mod support;

// === what can be typed ===

#[test]
fn help_of_every_command() {
    let commands = [
        "",
        "agent",
        "ready",
        "exec",
        "install",
        "get",
        "put",
        "rotate",
        "delete",
        "resolve",
        "obfuscate",
        "watch",
        "onboard",
        "onboard environment",
        "onboard team",
        "onboard app",
        "offboard",
        "offboard environment",
        "offboard team",
        "offboard app",
        "whoami",
        "status",
        "config",
        "can-i",
        "config check",
        "config schema",
        "conjur",
        "conjur policy",
        "completions",
        "version",
    ];
    for command in commands {
        let output = run(command.split_whitespace().chain(["--help"]));
        assert_eq!(code(&output), 0, "{command}");
        let text = printed(&output);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        insta::assert_snapshot!(format!("help {command}").trim().replace(' ', "_"), text);
    }
}

#[test]
fn wrong_usage_is_2() {
    let wrong: [&[&str]; 27] = [
        &[],
        &["frobnicate"],
        &["get"],
        &["get", ""],
        &["get", ID, "more"],
        &["put", ID],
        &["put", ID, "--value", "a", "-"],
        &["put", ID, "bare"],
        &["onboard", "app", "poc", "eni--hyperion"],
        &["onboard", "environment", "poc", "--secret", "nothing"],
        &["onboard", "environment", "poc", "--secret", "zones/a=@"],
        &["onboard", "environment", "poc", "--strategy", "mix"],
        &["resolve", "--content-type", "application/xml"],
        &["resolve", "manifest.conf"],
        &["obfuscate", "--scope", "poc", "--slot", "zones", "a.json"],
        &["obfuscate", "--scope", "poc", "--slot", "", "--path", "/a", "a.json"],
        &["obfuscate", "--scope", "poc", "--slot", "zones", "--path", "/a", "--content-type", "text"],
        &["watch"],
        &["agent", "--state-dir", "/nowhere"],
        &["agent", "--dev", "--admin", "localhost"],
        &["completions", "tcsh"],
        &["exec"],
        &["exec", "true"],
        &["exec", "--"],
        &["exec", "--watch", "--", "true"],
        &["exec", "--watch", "SIGSTOP", "--", "true"],
        &["install"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", said(&output));
        assert_eq!(printed(&output), "", "{arguments:?}");
        let name = if arguments.is_empty() { "Keep" } else { "cloakroom: " };
        assert!(said(&output).starts_with(name), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn put_without_a_value_names_the_three_ways() {
    let expected =
        "cloakroom: `put` needs a value: give it with --value V, with --file F, or with - on standard input\n";
    assert_eq!(said(&run(["put", ID])), expected);
}

#[test]
fn a_value_in_a_wrong_place_is_not_repeated() {
    let wrong: [&[&str]; 6] = [
        &["put", ID, "s3cr3t"],
        &["put", ID, "-", "s3cr3t"],
        &["put", ID, "--literal=s3cr3t", "-"],
        &["put", ID, "--valeu=s3cr3t"],
        &["onboard", "environment", "poc", "--secret", "s3cr3t"],
        &["onboard", "environment", "poc", "--strategy", "s3cr3t"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!said(&output).contains("s3cr3t"), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn commands_of_later_versions_are_refused_with_a_sentence() {
    let command = "gateway";
    let output = run([command, "--config", "x", "y"]);
    assert_eq!(code(&output), 2, "{command}");
    assert_eq!(printed(&output), "");
    let sentence = format!(
        "cloakroom: this version of cloakroom does not have `{command}`: \
         `cloakroom --help` lists the commands that are there\n"
    );
    assert_eq!(said(&output), sentence);
}

#[test]
fn version_and_completions_print_text() {
    assert_eq!(printed(&run(["version"])), concat!("cloakroom ", env!("CARGO_PKG_VERSION"), "\n"));
    for shell in ["bash", "zsh", "fish"] {
        let output = run(["completions", shell]);
        assert_eq!(code(&output), 0);
        let script = printed(&output);
        assert!(script.contains("keep-previous"), "{shell}");
        assert!(!script.contains("gateway"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = cloakroom(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
}

// === conjur ===

#[test]
fn conjur_policy_takes_flags_a_grants_file_and_a_configuration() {
    let directory = TempDir::new().unwrap();
    let (grants, config) = (directory.path().join("grants.yaml"), directory.path().join("cloakroom.yaml"));
    fs::write(
        &grants,
        "grants:\n\
         - {subject: 'uid:1000', rights: [secrets_read], scopes: ['*']}\n\
         - {subject: 'system:serviceaccount:team-a:my-app', rights: [secrets_read], scopes: [poc/team/my-app]}\n\
         - {subject: 'system:serviceaccount:team-a:deployer', rights: [secrets_write], scopes: [poc/team]}\n",
    )
    .unwrap();
    fs::write(
        &config,
        "backend: {kind: conjur, conjur: {url: 'https://c', account: main, rootPolicyPath: data/cp, \
         authn: {jwt: {serviceId: dev}}}}\n",
    )
    .unwrap();
    let mut command = cloakroom(["conjur", "policy", "--without-authenticator", "--onboarder", "cp:rover"]);
    let output = command.arg("--grants").arg(&grants).arg("--config").arg(&config).output().unwrap();
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
    insta::assert_snapshot!("conjur policy of files".replace(' ', "_"), printed(&output));
    let same = run([
        "conjur",
        "policy",
        "--without-authenticator",
        "--root=data/cp",
        "--service-id=dev",
        "--onboarder=cp:rover",
        "--reader=poc/team/my-app=team-a:my-app",
        "--writer=poc/team=team-a:deployer",
    ]);
    let statements = |text: String| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(statements(printed(&same)), statements(printed(&output)));
}

#[test]
fn conjur_policy_refuses_what_conjur_would_not_take() {
    let wrong: [&[&str]; 8] = [
        &["--root", "a b"],
        &["--root", ""],
        &["--service-id", "a/b"],
        &["--identity-path", "controlplane/hosts"],
        &["--onboarder", "rover"],
        &["--reader", "control-plane:rover"],
        &["--writer", "Poc=control-plane:rover"],
        &["--without-authenticator", "--signing-keys", "jwks-uri"],
    ];
    for arguments in wrong {
        let output = run(["conjur", "policy"].iter().chain(arguments));
        assert_eq!((code(&output), printed(&output).as_str()), (2, ""), "{arguments:?}: {}", said(&output));
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file.yaml");
    for (flag, text) in [
        ("--grants", "grants: [{subject: x, rights: [], scopes: []}]"),
        ("--config", "- no map"),
        ("--config", "backend: {kind: conjur, conjur: {rootPolicyPath: a b}}"),
        ("--config", "backend: {kind: kubernetes}"),
        (
            "--config",
            "backend: {kind: conjur, conjur: {url: 'https://c', account: main, authn: {jwt: {serviceId: a/b}}}}",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = run(["conjur".as_ref(), "policy".as_ref(), flag.as_ref(), file.as_os_str()]);
        assert_eq!((code(&output), printed(&output).as_str()), (64, ""), "{flag} {text}: {}", said(&output));
    }
}

// === configuration ===

#[test]
fn config_check_reports_every_mistake_on_a_line() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("cloakroom.yaml");
    let right = "backend: {kind: embedded, embedded: {file: /s/store.redb, keyFile: /s/store.key}}\n\
                 identity: {kind: uid}\nlisten: {allowUids: [1000]}\npermissions: {kind: file, file: /s/grants.yaml}\n";
    let wrong = format!("nonsense1: 1\nnonsense2: 2\nnonsense3: 3\n{right}");
    let check = || run(["config".as_ref(), "check".as_ref(), file.as_os_str()]);

    fs::write(&file, &wrong).unwrap();
    for output in [check(), run_with(cloakroom(["config", "check", "-"]), wrong.as_bytes())] {
        assert_eq!(code(&output), 64, "{}", said(&output));
        assert_eq!(printed(&output), "");
        let problems = said(&output);
        assert_eq!(problems.lines().count(), 3, "{problems}");
        for key in ["nonsense1", "nonsense2", "nonsense3"] {
            assert_eq!(problems.lines().filter(|line| line.contains(key)).count(), 1, "{problems}");
        }
    }
    fs::write(&file, right).unwrap();
    let output = check();
    assert_eq!((code(&output), printed(&output).as_str()), (0, "ok\n"), "{}", said(&output));
}

#[test]
fn config_schema_is_json() {
    let output = run(["config", "schema"]);
    assert_eq!(code(&output), 0);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap().is_object());
}

#[test]
fn an_agent_takes_exactly_one_configuration() {
    let none = run(["agent"]);
    assert_eq!(code(&none), 64);
    assert!(said(&none).contains("--dev"), "{}", said(&none));

    for (arguments, variables) in [
        (vec!["agent"], vec![("CLOAKROOM_CONFIG", "/a"), ("CLOAKROOM_CONFIG_INLINE", "b: 1")]),
        (vec!["agent", "--config", "/a"], vec![("CLOAKROOM_CONFIG", "/a")]),
        (vec!["agent", "--dev"], vec![("CLOAKROOM_CONFIG_INLINE", "b: 1"), ("HOME", "/nowhere")]),
        (vec!["agent", "--dev", "--config", "/a"], vec![("HOME", "/nowhere")]),
        (vec!["agent", "--config", "/nowhere/cloakroom.yaml"], vec![]),
    ] {
        let output = cloakroom(&arguments).envs(variables).output().unwrap();
        assert_eq!(code(&output), 64, "{arguments:?}: {}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    }
}

// === the socket ===

#[test]
fn no_agent_is_5_and_names_the_place() {
    let home = TempDir::new().unwrap();
    let missing = home.path().join("missing.sock");
    let named = run(["--socket".as_ref(), missing.as_os_str(), "get".as_ref(), ID.as_ref()]);
    let by_variable = cloakroom(["status"]).env("CLOAKROOM_SOCKET", &missing).output().unwrap();
    let ready = cloakroom(["ready"]).env("CLOAKROOM_SOCKET", &missing).output().unwrap();
    for output in [named, by_variable, ready] {
        assert_eq!(code(&output), 5, "{}", said(&output));
        assert!(said(&output).contains(missing.to_str().unwrap()), "{}", said(&output));
        assert!(said(&output).contains("--socket"), "{}", said(&output));
    }
    let nowhere = cloakroom(["status"]).env("HOME", home.path()).output().unwrap();
    assert_eq!(code(&nowhere), 5);
    let development = home.path().join(".local/state/cloakroom/agent.sock");
    assert!(said(&nowhere).contains("/run/cloakroom/agent/agent.sock"), "{}", said(&nowhere));
    assert!(said(&nowhere).contains(development.to_str().unwrap()), "{}", said(&nowhere));
}

#[test]
fn the_development_socket_is_found() {
    let home = TempDir::new().unwrap();
    let agent = FakeAgent::answering("200", r#"{"id":"i","value":"v"}"#);
    fs::create_dir_all(home.path().join("cloakroom")).unwrap();
    std::os::unix::fs::symlink(agent.socket(), home.path().join("cloakroom/agent.sock")).unwrap();
    let output = cloakroom(["get", ID]).env("XDG_RUNTIME_DIR", home.path()).output().unwrap();
    assert_eq!((code(&output), printed(&output).as_str()), (0, "v"), "{}", said(&output));
}
