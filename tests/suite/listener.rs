//! S8: what lies at the socket's place, and who may connect when.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloakroom_tests::agent::{Agent, Options, binary, eventually, grant_everything, own_uid, wait_with_deadline};
use cloakroom_tests::wire::Connection;
use tempfile::TempDir;

/// An agent whose socket is at `socket`; everything else lies in `directory`.
fn spawn(directory: &Path, socket: &Path) -> Child {
    let path = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "listen: {{socket: {}, allowUids: [{}], admin: \"\"}}\n\
         backend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
         identity: {{kind: uid}}\npermissions: {{kind: file, file: {}}}\naudit: {{sink: file, file: /dev/null}}\n",
        socket.display(),
        own_uid(),
        path("store.redb"),
        path("store.key"),
        path("grants.yaml"),
    );
    fs::write(directory.join("cloakroom.yaml"), config).unwrap();
    fs::write(directory.join("grants.yaml"), grant_everything(own_uid())).unwrap();
    Command::new("sh")
        .args(["-c", "umask 000; exec \"$@\"", "sh"])
        .arg(binary())
        .args(["agent", "--config"])
        .arg(directory.join("cloakroom.yaml"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// What an agent says that must not start.
fn refusal(socket: &Path) -> String {
    let directory = TempDir::new().unwrap();
    let mut child = spawn(directory.path(), socket);
    let status = wait_with_deadline(&mut child, Duration::from_secs(20)).unwrap_or_else(|| {
        child.kill().unwrap();
        panic!("the agent started on {}", socket.display());
    });
    assert_ne!(status.code(), Some(0));
    fs::read_to_string(directory.path().join("stderr")).unwrap()
}

fn own_directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let own = directory.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o750)).unwrap();
    (directory, own)
}

fn identity(path: &Path) -> (u64, u32, u64) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.ino(), found.mode(), found.len())
}

#[test]
fn s8_what_is_not_our_stale_socket_is_not_touched() {
    let (_directory, own) = own_directory();
    let target = own.join("target");
    fs::write(&target, "precious").unwrap();
    let link = own.join("link.sock");
    symlink(&target, &link).unwrap();
    let dangling = own.join("dangling.sock");
    symlink(own.join("nothing"), &dangling).unwrap();
    let live = own.join("live.sock");
    let _listener = UnixListener::bind(&live).unwrap();
    let folder = own.join("folder.sock");
    fs::create_dir(&folder).unwrap();
    for (path, word) in [
        (&target, "no socket"),
        (&link, "symbolic link"),
        (&dangling, "symbolic link"),
        (&live, "listens"),
        (&folder, "directory"),
    ] {
        let before = identity(path);
        let said = refusal(path);
        assert!(said.contains("listen.socket") && said.contains(word), "{}: {said}", path.display());
        assert_eq!(identity(path), before, "{} was touched", path.display());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(!own.join("nothing").exists());
}

#[test]
fn s8_a_path_that_no_socket_address_holds_is_refused() {
    let (_directory, own) = own_directory();
    let said = refusal(&own.join("x".repeat(108)));
    assert!(said.contains("107"), "{said}");
}

#[test]
fn s8_a_directory_that_others_can_write_or_own_is_refused() {
    let (_directory, own) = own_directory();
    for mode in [0o770, 0o757, 0o777, 0o1777] {
        fs::set_permissions(&own, Permissions::from_mode(mode)).unwrap();
        let said = refusal(&own.join("agent.sock"));
        assert!(said.contains("written by others"), "{mode:o}: {said}");
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, mode);
    }
    fs::set_permissions(&own, Permissions::from_mode(0o750)).unwrap();
    if nix::unistd::getuid().is_root() {
        nix::unistd::chown(&own, Some(4711.into()), None).unwrap();
        let said = refusal(&own.join("agent.sock"));
        assert!(said.contains("4711"), "{said}");
    }
    let elsewhere = own.with_file_name("elsewhere");
    symlink(&own, &elsewhere).unwrap();
    assert!(refusal(&elsewhere.join("agent.sock")).contains("directory"));
}

#[test]
fn s8_in_an_open_directory_the_agent_makes_its_own() {
    let directory = TempDir::new().unwrap();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let socket = open.join("agent/agent.sock");
    let mut child = spawn(directory.path(), &socket);
    eventually(Duration::from_secs(20), "the socket", || Connection::try_open(&socket).is_some());
    assert_eq!(fs::metadata(open.join("agent")).unwrap().mode() & 0o7777, 0o750);
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o660);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn s8_a_stale_socket_is_replaced_and_a_live_agent_is_not() {
    let (directory, own) = own_directory();
    let socket = own.join("agent.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let stale = identity(&socket);
    let mut child = spawn(directory.path(), &socket);
    eventually(Duration::from_secs(20), "the socket", || Connection::try_open(&socket).is_some());
    let live = identity(&socket);
    assert_ne!(live, stale);
    let said = refusal(&socket);
    assert!(said.contains("another process listens"), "{said}");
    assert_eq!(identity(&socket), live, "the first agent's socket was touched");
    let answer = Connection::open(&socket).request("GET", "/api/v1/status", &[], b"");
    assert_eq!(answer.status, 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn s8_an_agent_that_ends_removes_its_own_socket_and_no_other() {
    let mut agent = Agent::start(Options::default());
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    assert!(!agent.socket().exists());

    let mut agent = Agent::start(Options::default());
    fs::remove_file(agent.socket()).unwrap();
    let _other = UnixListener::bind(agent.socket()).unwrap();
    let before = identity(&agent.socket());
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(agent.wait(Duration::from_secs(20)).unwrap().code(), Some(0));
    assert_eq!(identity(&agent.socket()), before, "somebody else's socket was removed");
}

#[test]
fn s8_another_uid_never_connects_from_before_the_start() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let socket = directory.path().join("agent/agent.sock");
    let script = "import socket,sys,time\n\
        end=time.time()+float(sys.argv[2])\n\
        print('polling',flush=True)\n\
        tries=0\n\
        while time.time()<end:\n\
        \ts=socket.socket(socket.AF_UNIX)\n\
        \ttries+=1\n\
        \ttry:\n\
        \t\ts.connect(sys.argv[1]); print('connected'); sys.exit(1)\n\
        \texcept OSError as e:\n\
        \t\ts.close()\n\
        print('never in',tries,flush=True)\n";
    let poller = Command::new("python3")
        .args(["-c", script])
        .arg(&socket)
        .arg("3")
        .uid(48_125)
        .gid(48_125)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = spawn(directory.path(), &socket);
    eventually(Duration::from_secs(20), "the socket", || Connection::try_open(&socket).is_some());
    let output = poller.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("never in"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}
