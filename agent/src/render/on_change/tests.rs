//! Actions: after a quiet time, once for many changes, again after a failure, and nothing of a value on the way.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::render::spec::{HttpPlace, Process, parse_url};
use nix::sys::signal::Signal;

/// Answers one request, and gives what was asked.
async fn answer(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, status: &str) -> String {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: http://10.0.0.1/\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&request[..length]).into_owned()
}

#[tokio::test]
async fn a_post_without_a_body_is_all_that_a_program_gets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reload?a=b", listener.local_addr().unwrap());
    let asked = async { answer(listener.accept().await.unwrap().0, "204 No Content").await };
    let action = parse_url(&url).unwrap();
    let (done, request) = tokio::join!(perform(&action), asked);
    assert_eq!(done, Ok(()));
    assert!(request.starts_with("POST /reload?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "{request}");
}

#[tokio::test]
async fn a_socket_is_asked_and_no_redirect_followed() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = directory.path().join("app.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let action = parse_url(&format!("unix:{}:/x", socket.display())).unwrap();
    for (status, expected) in
        [("200 OK", Ok(())), ("302 Found", Err(ActionError::Refused)), ("500 No", Err(ActionError::Refused))]
    {
        let asked = async { answer(listener.accept().await.unwrap().0, status).await };
        let (done, request) = tokio::join!(perform(&action), asked);
        assert_eq!(done, expected);
        assert!(request.starts_with("POST /x HTTP/1.1\r\n"), "{request}");
    }
    drop(listener);
    assert_eq!(perform(&action).await, Err(ActionError::Unreachable));
}

#[tokio::test]
async fn a_signal_goes_to_the_process_in_the_file_and_never_to_many() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("pid");
    let signal = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Action::Signal { to: Process::PidFile(file.clone()), signal: Signal::SIGTERM }
    };
    for wrong in ["", "0", "-1", "1", "-17", "x", "99999999999", &std::process::id().to_string()] {
        assert_eq!(perform(&signal(wrong)).await, Err(ActionError::NoPid), "{wrong}");
    }
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    assert_eq!(perform(&signal(&format!("{}\n", child.id()))).await, Ok(()));
    assert!(!child.wait().unwrap().success());
    let nobody = Action::Signal { to: Process::Name("cloakroom-none".to_owned()), signal: Signal::SIGHUP };
    assert_eq!(perform(&nobody).await, Err(ActionError::NoProcess));
}

#[tokio::test]
async fn a_signal_goes_to_all_of_a_name() {
    let directory = tempfile::TempDir::new().unwrap();
    let program = directory.path().join("cloak-test-app-long");
    std::fs::copy("/bin/sleep", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut children = [(); 2].map(|()| std::process::Command::new(&program).arg("60").spawn().unwrap());
    // The kernel cuts names short, and gives a new one only some time after its exec lets the parent go on.
    for child in &children {
        while std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "cloak-test-app-\n" {
            tokio::task::yield_now().await;
        }
    }
    let to = Process::Name("cloak-test-app-long".to_owned());
    let action = Action::Signal { to, signal: Signal::SIGTERM };
    assert_eq!(perform(&action).await, Ok(()));
    for child in &mut children {
        assert!(!child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_command_is_run_without_a_shell_and_without_our_environment() {
    let directory = tempfile::TempDir::new().unwrap();
    let seen = directory.path().join("seen");
    let run = |argv: &[&str]| Action::Exec { argv: argv.iter().map(|word| (*word).to_owned()).collect() };
    let script = format!("env > {}", seen.display());
    assert_eq!(perform(&run(&["/bin/sh", "-c", &script])).await, Ok(()));
    let environment = std::fs::read_to_string(&seen).unwrap();
    assert!(environment.contains("PATH=/usr/local/sbin"), "{environment}");
    assert!(!environment.contains("CARGO"), "{environment}");
    assert_eq!(perform(&run(&["/bin/false"])).await, Err(ActionError::Failed));
    assert_eq!(perform(&run(&["/nonexistent/x"])).await, Err(ActionError::NotStarted));
    // No shell: a semicolon is a letter like any other.
    assert_eq!(perform(&run(&["/bin/true; touch /tmp/x"])).await, Err(ActionError::NotStarted));
}

fn on_board(action: Action, quiet: Duration) -> (Actor, Notices, Board) {
    use crate::render::spec::{FileSpec, OnMissing, SetSpec, Source};
    let on_change = OnChange { action, quiet };
    let content = crate::render::Content::template("x").unwrap();
    let file = FileSpec {
        name: "a".to_owned(),
        source: Source::Inline(Arc::new(content)),
        destination: crate::render::place::Destination::parse("a").unwrap(),
        format: crate::render::format::Format::Text,
        mode: 0o440,
        on_change: Some(on_change.clone()),
        on_missing: OnMissing::Fail,
        required: true,
    };
    let board = Board::default();
    let set = SetSpec { directory: "/f".into(), require_memory: false, files: vec![file.clone()] };
    let place = board.add(&set, &file);
    let (actor, notices) = actor(on_change, board.clone(), place, "a".to_owned());
    (actor, notices, board)
}

#[tokio::test]
async fn many_changes_are_told_of_once_and_a_failure_is_tried_again_and_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let action = Action::Http { to: HttpPlace::Tcp(listener.local_addr().unwrap()), path: "/".to_owned() };
    let (actor, notices, board) = on_board(action, Duration::from_millis(50));
    let stop = CancellationToken::new();
    let acting = tokio_util::task::TaskTracker::new().spawn(actor.run(stop.clone()));
    for _ in 0..5 {
        notices.changed();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answer(listener.accept().await.unwrap().0, "503 Later").await;
    let state = |wanted: &'static str| {
        let board = board.clone();
        async move {
            while board.status()[0]["onChange"]["state"] != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            board.status()[0]["onChange"].clone()
        }
    };
    let failed = state("failed").await;
    assert_eq!(failed["error"], "refused");
    assert!(failed["nextTrySeconds"].as_f64().unwrap() > 0.0);
    answer(listener.accept().await.unwrap().0, "200 OK").await;
    assert!(state("done").await["error"].is_null());
    let more = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(more.is_err(), "it was told twice");
    stop.cancel();
    acting.await.unwrap();
}
