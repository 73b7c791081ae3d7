//! `cloakroom exec`: the command has values where placeholders were, and is otherwise started as without it.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use cloakroom_tests::agent::{Agent, Options, binary, own_uid};
use cloakroom_tests::exec::{Running, agent_with, exec, onboard, placeholder, said, with_default_signals};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A uid that no other part of the machine uses.
const OTHER_UID: u32 = 48_124;

const ENVIRON: &[&str] = &["cat", "/proc/self/environ"];

/// The environment that the command printed.
fn environ(command: &mut Command) -> Vec<(Vec<u8>, Vec<u8>)> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let variables = output.stdout.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    variables
        .map(|variable| {
            let equals = variable.iter().position(|byte| *byte == b'=').unwrap();
            (variable[..equals].to_vec(), variable[equals + 1..].to_vec())
        })
        .collect()
}

fn value(environ: &[(Vec<u8>, Vec<u8>)], name: &str) -> Option<Vec<u8>> {
    environ.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value.clone())
}

#[test]
fn values_arrive_byte_for_byte_as_whole_values_and_inside_longer_ones() {
    let odd = "a\nb\r\n\t\"'`$HOME $(id) \\ % = #ä𝄞\u{202e}\u{feff} \n";
    let agent = agent_with(&[("odd", odd), ("plain", "p")]);
    let mut command = exec(&agent.socket(), &[], ENVIRON);
    let mut bytes = b"\xff".to_vec();
    bytes.extend_from_slice(placeholder("plain").as_bytes());
    command
        .env("ODD", placeholder("odd"))
        .env("URL", format!("x://{0}:{1}@{0}/$<{0}", placeholder("plain"), placeholder("odd")))
        .env("BYTES", std::ffi::OsString::from_vec(bytes))
        .env("EMPTY", "")
        .env("NONE", "$<poc:not a placeholder:::>");
    let environ = environ(&mut command);
    let text = |name| String::from_utf8(value(&environ, name).unwrap()).unwrap();
    assert_eq!(text("ODD"), odd);
    assert_eq!(text("URL"), format!("x://p:{odd}@p/$<p"));
    assert_eq!(value(&environ, "BYTES").unwrap(), b"\xffp");
    assert_eq!(text("EMPTY"), "");
    assert_eq!(text("NONE"), "$<poc:not a placeholder:::>");
}

#[test]
fn a_value_that_looks_like_a_placeholder_is_not_resolved_again() {
    let inner = placeholder("plain");
    let agent = agent_with(&[("plain", "p"), ("nested", &inner)]);
    let environ = environ(exec(&agent.socket(), &[], ENVIRON).env("A", placeholder("nested")));
    assert_eq!(value(&environ, "A").unwrap(), inner.as_bytes());
}

#[test]
fn own_variables_do_not_arrive_and_a_cleared_environment_has_only_what_it_says() {
    let agent = agent_with(&[("plain", "p")]);
    let start = |options: &[&str]| {
        let mut command = exec(&agent.socket(), options, ENVIRON);
        command.env("CLOAKROOM_SOCKET", "/nowhere").env("CLOAKROOM_CONFIG_INLINE", placeholder("missing"));
        environ(command.env("HOME", "/h").env("OTHER", "1").env("A", placeholder("plain")))
    };
    let names = |environ: Vec<(Vec<u8>, Vec<u8>)>| {
        let mut names: Vec<_> = environ.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(start(&[])), ["A", "HOME", "OTHER", "PATH"]);
    assert_eq!(names(start(&["--clear-env"])), ["A", "HOME", "PATH"]);
}

#[test]
fn an_environment_of_a_mebibyte_arrives_whole() {
    // A map slot holds less than that, so each value is in three variables.
    let stored: Vec<(String, String)> = (0..8).map(|n| (format!("large{n}"), format!("{n}-").repeat(30_000))).collect();
    let stored: Vec<(&str, &str)> = stored.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let agent = agent_with(&stored);
    let variables =
        stored.iter().flat_map(|(key, value)| (0..3).map(move |time| (format!("{key}_{time}"), *key, *value)));
    let variables: Vec<(String, &str, &str)> = variables.collect();
    let mut command = exec(&agent.socket(), &[], ENVIRON);
    command.envs(variables.iter().map(|(name, key, _)| (name, placeholder(key))));
    let environ = environ(&mut command);
    assert!(environ.iter().map(|(_, value)| value.len()).sum::<usize>() > 1 << 20);
    for (name, _, stored) in &variables {
        assert!(value(&environ, name).unwrap() == stored.as_bytes(), "{name}");
    }
}

#[test]
fn more_ids_than_a_batch_has_are_asked_for_in_batches_and_each_once() {
    let stored: Vec<(String, String)> = (0..150).map(|n| (format!("k{n}"), format!("value {n}"))).collect();
    let stored: Vec<(&str, &str)> = stored.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let agent = agent_with(&stored);
    let mut command = exec(&agent.socket(), &[], ENVIRON);
    command.envs(stored.iter().map(|(key, _)| (key, format!("{0} {0}", placeholder(key)))));
    let environ = environ(&mut command);
    for (key, stored) in &stored {
        assert_eq!(value(&environ, key).unwrap(), format!("{stored} {stored}").into_bytes());
    }
    let audit = agent.audit();
    let batches = audit.iter().filter(|record| record["operation"] == "batch" && record["phase"] != "attempt");
    let asked: Vec<usize> = batches.map(|record| record["secrets"].as_array().unwrap().len()).collect();
    assert_eq!(asked, [100, 50]);
}

#[test]
fn what_the_kernel_does_not_take_is_126_and_named() {
    let agent = agent_with(&[("large", &"s3cr3t".repeat(10_000))]);
    let text = placeholder("large").repeat(3);
    let output =
        exec(&agent.socket(), &[], &["true"]).env("SMALL", placeholder("large")).env("LARGE", text).output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    let said = said(&output);
    assert!(said.contains("too large by itself is LARGE:") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn a_nul_is_refused_with_the_variable_and_nothing_is_started() {
    let agent = agent_with(&[("nul", "s3cr3t\0more")]);
    let output = exec(&agent.socket(), &[], &["echo", "started"]).env("A", placeholder("nul")).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
    let said = said(&output);
    assert!(said.contains("the value of A has a NUL") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn one_refusal_starts_nothing_and_names_every_variable_that_it_is_about() {
    let grants = format!(
        "grants:\n  - {{subject: \"uid:{0}\", rights: [secrets_read, secrets_write, onboarding_write], \
         scopes: [\"poc/eni--hyperion\"]}}\n",
        own_uid()
    );
    let agent = Agent::start(Options { grants, ..Options::default() });
    onboard(&agent, &[("plain", "s3cr3t")]);
    let mut command = exec(&agent.socket(), &[], &["echo", "started"]);
    command.env("FINE", placeholder("plain")).env("MISSING", format!("a{}", placeholder("missing")));
    let missing = command.output().unwrap();
    assert_eq!((missing.status.code(), missing.stdout.as_slice()), (Some(4), b"".as_slice()), "{}", said(&missing));
    assert!(
        said(&missing).starts_with("cloakroom: cannot resolve MISSING: there is no such secret"),
        "{}",
        said(&missing)
    );

    command.env("DENIED", "$<other:team:app:clientSecret:>").env("DENIED_TOO", "x$<other:team:app:externalSecrets/k:>");
    let denied = command.output().unwrap();
    assert_eq!((denied.status.code(), denied.stdout.as_slice()), (Some(3), b"".as_slice()), "{}", said(&denied));
    let lines = said(&denied);
    assert!(lines.contains("cannot resolve MISSING: there is no such secret"), "{lines}");
    assert!(lines.contains("DENIED, DENIED_TOO: reading") || lines.contains("DENIED_TOO, DENIED: reading"), "{lines}");
    for hidden in ["s3cr3t", "FINE", "externalSecrets", "other:team"] {
        assert!(!lines.contains(hidden), "{hidden}: {lines}");
    }
}

#[test]
fn an_agent_that_is_away_is_5_and_names_the_variables() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("run/agent.sock");
    let output = exec(&socket, &["--wait", "0"], &["echo", "started"])
        .env("A", placeholder("plain"))
        .env("B", "b")
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), b"".as_slice()));
    assert!(said(&output).starts_with("cloakroom: cannot resolve A: cannot connect to "), "{}", said(&output));
    // Who needs no value needs no agent.
    assert!(exec(&socket, &["--wait", "0"], &["true"]).env("B", "b").status().unwrap().success());
}

#[test]
fn an_agent_that_is_not_there_yet_is_waited_for() {
    let directory = agent_with(&[("plain", "p")]).into_directory();
    let socket = directory.path().join("run/agent.sock");
    let mut command = exec(&socket, &["--wait", "300"], &["sh", "-c", "echo $A"]);
    command.env("A", placeholder("plain"));
    let mut waiting = Running::start(command);
    waiting.until_said("trying again for at most 300 s");
    let _agent = Agent::start_in(directory, Options::default());
    assert!(waiting.end().success(), "{}", waiting.said());
    assert_eq!(waiting.printed(), "p\n");
    assert_eq!(waiting.said().lines().count(), 1, "{}", waiting.said());
}

#[test]
fn a_signal_ends_the_wait_except_where_it_was_ignored() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let mut exec = exec(&socket, &["--wait", "3000"], &["true"]);
    let mut ignoring = Command::new("sh");
    // Without what gives signals their default back.
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).args(exec.get_args().skip(1)).env_clear();
    ignoring.env("A", placeholder("plain")).env("PATH", std::env::var_os("PATH").unwrap());
    exec.env("A", placeholder("plain"));
    let mut waiting = Running::start(exec);
    waiting.until_said("trying again");
    waiting.signal(Signal::SIGHUP);
    assert_eq!(waiting.end().code(), Some(129));
    let mut waiting = Running::start(ignoring);
    waiting.until_said("trying again");
    waiting.signal(Signal::SIGHUP);
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.end().code(), Some(143));
}

#[test]
fn exit_status_and_signals_are_the_commands_own() {
    let agent = agent_with(&[("plain", "p")]);
    let run =
        |command: &[&str]| exec(&agent.socket(), &[], command).env("A", placeholder("plain")).output().unwrap().status;
    assert_eq!(run(&["sh", "-c", "exit 7"]).code(), Some(7));
    assert_eq!(run(&["sh", "-c", "kill -USR1 $$"]).signal(), Some(Signal::SIGUSR1 as i32));
    // What a shell gives where it cannot start a command.
    assert_eq!(run(&["cloakroom-is-not-there"]).code(), Some(127));
    assert_eq!(run(&[""]).code(), Some(127));
    assert_eq!(run(&["/nowhere/x"]).code(), Some(127));
    assert_eq!(run(&["/"]).code(), Some(126));
    assert_eq!(run(&["/etc/passwd"]).code(), Some(126));
    let directory = TempDir::new().unwrap();
    let foreign = directory.path().join("foreign");
    fs::write(&foreign, b"\x7fELF\x02\x01\x01\x00 of another machine").unwrap();
    fs::set_permissions(&foreign, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(run(&[foreign.to_str().unwrap()]).code(), Some(126));
}

#[test]
fn a_command_is_found_as_a_shell_finds_it() {
    let agent = agent_with(&[("path", "first")]);
    let directory = TempDir::new().unwrap();
    let script = |place: &str, mode: u32, text: &str| {
        let file = directory.path().join(place).join("the-command");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    script("forbidden", 0o644, "#!/bin/sh\necho forbidden\n");
    script("first", 0o755, "#!/bin/sh\necho \"first $*\"\n");
    script("bare", 0o755, "echo \"bare $*\"\n");
    let run = |path: String| {
        let mut command = exec(&agent.socket(), &[], &["the-command", "a b", "*"]);
        command.env("PATH", path).current_dir(directory.path().join("first"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let place = |name: &str| directory.path().join(name).display().to_string();
    assert_eq!(run(format!("/nowhere:{}:{}", place("forbidden"), place("first"))), "first a b *\n");
    assert_eq!(run(format!("{}/{}", directory.path().display(), placeholder("path"))), "first a b *\n");
    assert_eq!(run(format!("/nowhere::{}", place("bare"))), "first a b *\n");
    assert_eq!(run(place("bare")), "bare a b *\n");
}

/// What a program can see of how it was started, as a script that prints it.
///
/// Of the ignored signals those with a name: glibc ignores two of its own in every program that its `posix_spawn` starts.
const STATE: &str = "\
umask; pwd; cat /proc/self/limits; grep -E '^(SigBlk|Uid|Gid|Groups|NoNewPrivs|Seccomp|CapEff)' /proc/self/status; \
echo ignored $((0x$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status) & 0x7fffffff)); \
ls /proc/$$/fd; cat <&7; ls -ln /proc/self/environ | cut -d' ' -f1-4; cat /proc/self/oom_score_adj";

/// The state of a command that this prefix starts, where limits, umask, mask, ignored signals and descriptors are odd.
fn state(prefix: &[String]) -> String {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("seven");
    fs::write(&file, "seven\n").unwrap();
    let odd = "trap '' HUP USR1; umask 027; ulimit -c 1000; ulimit -S -n 300; cd /usr; exec 7<\"$FILE\"; \
               exec env --block-signal=USR2 --block-signal=TERM \"$@\"";
    let mut command = with_default_signals();
    command.args(["sh", "-c", odd, "sh"]).args(prefix).args(["sh", "-c", STATE]);
    command.env("FILE", &file).env("A", placeholder("plain"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn limits_umask_mask_ignored_signals_and_descriptors_are_those_of_a_direct_start() {
    let agent = agent_with(&[("plain", "p")]);
    let direct = state(&[]);
    assert!(direct.contains("seven") && direct.contains("\nignored 513\n"), "{direct}");
    for options in [&[][..], &["--watch", "HUP"]] {
        let exec = exec(&agent.socket(), options, &[]);
        let prefix: Vec<String> = exec.get_args().skip(1).map(|word| word.to_str().unwrap().to_owned()).collect();
        assert_eq!(state(&prefix), direct, "{options:?}");
    }
}

#[test]
fn the_output_of_a_command_ends_it_when_its_reader_has_gone() {
    let agent = agent_with(&[("plain", "p")]);
    for options in [&[][..], &["--watch", "HUP"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = exec(&agent.socket(), options, &["sh", "-c", "while echo y; do :; done"]);
        let status = command.env("A", placeholder("plain")).stdout(writer).status().unwrap();
        let ended = status.signal().or(status.code().map(|code| code - 128));
        assert_eq!(ended, Some(Signal::SIGPIPE as i32), "{options:?}");
    }
}

#[test]
fn n5_no_value_is_in_an_argument_list_and_arguments_stay_as_they_are() {
    let agent = agent_with(&[("plain", "s3cr3t")]);
    let argument = placeholder("plain");
    for options in [&[][..], &["--watch", "HUP"]] {
        let script = "cat /proc/self/cmdline /proc/$$/cmdline /proc/$PPID/cmdline";
        let mut command = exec(&agent.socket(), options, &["sh", "-c", script, &argument]);
        let output = command.env("A", &argument).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.contains(&argument) && !shown.contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn x4_who_waits_for_values_is_closed_to_its_siblings_and_the_command_is_as_open_as_ever() {
    // As root every file mode is passed, so the promise can only be seen as another uid.
    if own_uid() != 0 {
        return;
    }
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("cloakroom");
    fs::copy(binary(), &program).unwrap();
    let start = |value: &str| {
        let mut command = Command::new(&program);
        command.args(["exec", "--wait", "3000", "--socket", "/nowhere/agent.sock", "--", "sleep", "3000"]);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("A", value)
            .uid(OTHER_UID)
            .gid(OTHER_UID);
        Running::start(command)
    };
    let readable = |of: &Running| {
        let mut command = Command::new("head");
        command.arg(format!("/proc/{}/environ", of.pid())).uid(OTHER_UID).gid(OTHER_UID);
        command.output().unwrap().status.success()
    };
    let waiting = start(&placeholder("plain"));
    waiting.until_said("trying again");
    assert!(!readable(&waiting));
    let started = start("no placeholder");
    cloakroom_tests::agent::eventually(std::time::Duration::from_secs(20), "the command", || {
        fs::read(format!("/proc/{}/cmdline", started.pid())).unwrap().starts_with(b"sleep")
    });
    assert!(readable(&started));
}

#[test]
fn install_puts_a_program_that_runs_and_replaces_one_that_is_running() {
    let directory = TempDir::new().unwrap();
    let installed = directory.path().join("cloakroom");
    let install = |program: &Path, into: &Path| {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program).arg("install").arg(into).env_clear();
        command.output().unwrap()
    };
    // The second one is done by the copy itself, which is the file that it replaces.
    for program in [binary(), installed.clone()] {
        let output = install(&program, directory.path());
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&installed).unwrap().permissions()),
            0o100_755
        );
        assert!(fs::read(&installed).unwrap() == fs::read(binary()).unwrap());
    }
    for (wrong, reason) in [(directory.path().join("nowhere"), "not found"), (installed, "not a directory")] {
        let output = install(&binary(), &wrong);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).starts_with(&format!("cloakroom: cannot install into {}: ", wrong.display())));
        assert!(said(&output).contains(reason), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn install_leaves_the_old_program_where_there_is_no_room_for_the_new_one() {
    // A directory of its own size takes root and a mount.
    if own_uid() != 0 {
        return;
    }
    let directory = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$1\" && echo old > \"$1/cloakroom\" && ! \"$2\" install \"$1\" && ls -A \"$1\" && cat \"$1/cloakroom\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(directory.path().as_os_str()).arg(binary());
    let output = command.output().unwrap();
    if output.status.code() == Some(1) && said(&output).contains("unshare") {
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "cloakroom\nold\n", "{}", said(&output));
    assert!(said(&output).contains("cannot install into"), "{}", said(&output));
}
