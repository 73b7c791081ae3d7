//! `cloakroom exec --watch`: a good process in front of another one, that tells it of changes.

use std::process::Command;

use cloakroom_tests::agent::{Agent, own_uid};
use cloakroom_tests::exec::{Running, agent_with, delete, exec, onboard, placeholder, said};
use nix::sys::signal::Signal;

/// Prints the name of each signal that it gets, and ends with 11 on SIGTERM.
const LISTENER: &str = "\
for name in HUP INT QUIT USR1 USR2 WINCH; do trap \"echo $name\" $name; done; trap 'echo TERM; exit 11' TERM; \
echo up $$ $A; while :; do sleep 0.02; done";

fn watching(agent: &Agent, signal: &str) -> Running {
    let mut command = exec(&agent.socket(), &["--watch", signal], &["sh", "-c", LISTENER]);
    command.env("A", placeholder("a")).env("B", format!("x{}", placeholder("b")));
    let running = Running::start(command);
    running.until_printed("up ");
    running
}

#[test]
fn a_change_of_a_value_that_was_given_is_a_signal_and_other_changes_are_none() {
    let agent = agent_with(&[("a", "one"), ("b", "one"), ("c", "one")]);
    let mut running = watching(&agent, "USR1");
    // Neither another secret of the scope nor the same value again.
    onboard(&agent, &[("c", "two"), ("b", "one")]);
    onboard(&agent, &[("b", "two")]);
    running.until_printed("USR1");
    onboard(&agent, &[("a", "two"), ("b", "three")]);
    running.until_printed("USR1\nUSR1");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(11));
    // What was changed at one moment was one signal.
    assert_eq!(running.printed().matches("USR1").count(), 2, "{}", running.printed());
    assert_eq!(running.said(), "");
}

#[test]
fn the_word_signal_and_names_in_every_form_are_signals() {
    let agent = agent_with(&[("a", "one"), ("b", "one")]);
    for (number, (name, printed)) in [("signal", "HUP"), ("sigusr2", "USR2"), ("INT", "INT")].into_iter().enumerate() {
        let running = watching(&agent, name);
        onboard(&agent, &[("a", &format!("value {number}"))]);
        running.until_printed(printed);
    }
}

#[test]
fn signals_are_passed_on_and_the_end_is_the_commands() {
    let agent = agent_with(&[("a", "one"), ("b", "one")]);
    let mut running = watching(&agent, "HUP");
    for (signal, name) in [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGTERM, "TERM"),
    ] {
        running.signal(signal);
        running.until_printed(name);
    }
    assert_eq!(running.end().code(), Some(11));

    let status = |script: &str| {
        let mut command = exec(&agent.socket(), &["--watch", "HUP"], &["sh", "-c", script]);
        command.env("A", placeholder("a")).status().unwrap().code()
    };
    assert_eq!(status("exit 0"), Some(0));
    assert_eq!(status("exit 255"), Some(255));
    assert_eq!(status("kill -KILL $$"), Some(137));
    // A real-time signal, for which there is no name.
    assert_eq!(status("kill -40 $$"), Some(255));
    let mut none = exec(&agent.socket(), &["--watch", "HUP"], &["cloakroom-is-not-there"]);
    assert_eq!(none.env("A", placeholder("a")).status().unwrap().code(), Some(127));
}

#[test]
fn the_process_in_front_holds_no_value() {
    let agent = agent_with(&[("a", "one"), ("b", "v4lu3-0f-b")]);
    let running = watching(&agent, "HUP");
    let pid = running.pid();
    let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environ.contains(&placeholder("b")) && !environ.contains("v4lu3-0f-b"));
    let child = running.printed().split_whitespace().nth(1).unwrap().to_owned();
    assert!(std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap().contains("v4lu3-0f-b"));
}

#[test]
fn a_change_that_was_made_while_the_agent_was_away_is_noticed_and_the_gap_is_told() {
    let agent = agent_with(&[("a", "one"), ("b", "one")]);
    let running = watching(&agent, "USR1");
    let directory = agent.into_directory();
    running.until_said("cloakroom: changes of A are not seen for now: ");
    running.until_said("cloakroom: changes of B are not seen for now: ");
    let agent = Agent::start_in(directory, cloakroom_tests::agent::Options::default());
    onboard(&agent, &[("a", "two")]);
    running.until_printed("USR1");
    running.until_said("cloakroom: changes of A are seen again");
    running.until_said("cloakroom: changes of B are seen again");
    assert_eq!(running.said().lines().count(), 4, "{}", running.said());
}

#[test]
fn a_deleted_secret_is_told_and_the_command_goes_on() {
    let agent = agent_with(&[("a", "one"), ("b", "one")]);
    let mut running = watching(&agent, "USR1");
    delete(&agent, "b");
    running.until_said("cloakroom: the secret of B was deleted");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(11));
    assert!(!running.printed().contains("USR1"), "{}", running.printed());
}

#[test]
fn as_process_1_it_reaps_what_others_leave_and_is_ended_by_a_signal() {
    // A process namespace takes root.
    if own_uid() != 0 {
        return;
    }
    let agent = agent_with(&[("a", "one")]);
    let inside = |script: &str| {
        let exec = exec(&agent.socket(), &["--watch", "HUP"], &["sh", "-c", script]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(exec.get_program()).args(exec.get_args());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("A", placeholder("a"));
        command
    };
    // An orphan that has ended is gone once there is no state Z of a child of process 1.
    let orphans = "(sleep 0.01 & sleep 0.01 & true); \
                   while [ \"$(cat /proc/[0-9]*/stat | grep -c ') [A-Z] 1 ')\" -gt 1 ]; do sleep 0.05; done; exit 3";
    let output = inside(orphans).output().unwrap();
    if said(&output).contains("unshare:") {
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    // Sent to itself from inside: a process 1 that does not care for signals would not notice.
    assert_eq!(
        inside("trap 'exit 9' TERM; kill -TERM 1; while :; do sleep 0.02; done").status().unwrap().code(),
        Some(9)
    );
}
