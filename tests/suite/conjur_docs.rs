//! `agent/docs/conjur.md`, done as it says: every block of commands is run, in order, from nothing to a deleted scope.
//!
//! `cloakroom` is the built program and `curl` the real one. `conjur`, `kubectl` and `jq` are functions of the shell: the
//! first notes what it was asked, which is then done to the double; the others stand in for the cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloakroom_tests::agent::{binary, eventually};
use cloakroom_tests::api_server::{Answers, FakeApiServer};
use cloakroom_tests::conjur::FakeConjur;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../agent/docs/conjur.md");

/// Where the page has its Conjur.
const URL: &str = "https://conjur.example.com";

/// The name of the double's signing key, and who issues tokens by it.
const KEY: &str = "cluster-key-1";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The commands that are not ours.
const PRELUDE: &str = r#"
set -eu
conjur() { printf '%s\n' "$@" -- >> conjur-calls; }
kubectl() { case "$*" in
  'get --raw /openid/v1/jwks') cat jwks.json ;;
  'get --raw /.well-known/openid-configuration') cat openid.json ;;
  *) echo "unknown: kubectl $*" >&2; exit 9 ;;
esac; }
jq() { case "$*" in
  '-c {type: "jwks", value: .}') printf '{"type":"jwks","value":%s}' "$(cat)" ;;
  '-r .issuer') sed 's/.*"issuer":"\([^"]*\)".*/\1/' ;;
  *) echo "unknown: jq $*" >&2; exit 9 ;;
esac; }
"#;

/// A fenced block, and the text since the one before.
struct Block {
    before: String,
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut before, mut open): (Vec<Block>, String, Option<Block>) = (Vec::new(), String::new(), None);
    for line in PAGE.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let before = std::mem::take(&mut before);
                open = Some(Block { before, language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => before += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// Whoever follows the page.
struct Reader {
    directory: TempDir,
    fake: FakeConjur,
    cluster: FakeApiServer,
    agents: BTreeMap<String, Running>,
    /// The service account whose agent is used.
    current: String,
    got: Vec<String>,
    ran: Vec<String>,
}

/// An agent; killed when dropped.
struct Running {
    child: Child,
    home: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Reader {
    async fn new() -> Self {
        // Nothing is prepared: no branch, no authenticator.
        let fake = FakeConjur::with(cloakroom_tests::conjur::Settings { branch: None, ..Default::default() }).await;
        let cluster = FakeApiServer::start(Answers::default()).await;
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("conjur.pem", &fake.ca_pem());
        let keys: serde_json::Value = serde_json::from_str(&FakeConjur::public_keys(KEY)).unwrap();
        write("jwks.json", &keys["value"].to_string());
        write("openid.json", &format!("{{\"issuer\":\"{ISSUER}\"}}"));
        std::os::unix::fs::symlink(binary(), directory.path().join("cloakroom")).unwrap();
        let (agents, current) = (BTreeMap::new(), "control-plane:rover".to_owned());
        Self { directory, fake, cluster, agents, current, got: Vec::new(), ran: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn home(&self) -> PathBuf {
        self.path().join(self.current.replace(':', "-"))
    }

    /// The page's configuration where this machine has other places, and nothing else changed.
    fn configure(&self, text: &str) {
        let home = self.home();
        let (namespace, account) = self.current.split_once(':').unwrap();
        self.cluster.give_token(&home.join("kube"), namespace, account);
        fs::write(home.join("token"), self.fake.jwt(namespace, account).sign()).unwrap();
        let token = format!("\n        tokenFile: {}\n    lease:", home.join("token").display());
        let replaced = [
            (URL, self.fake.url()),
            ("/etc/cloakroom/conjur.pem", self.path().join("conjur.pem").display().to_string()),
            ("\n    lease:", token),
        ];
        let mut text = text.to_owned();
        for (from, to) in replaced {
            assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
            text = text.replace(from, &to);
        }
        text += &format!("identity: {{tokenDir: {}}}\n", home.join("kube").display());
        text +=
            &format!("listen: {{socket: {0}/run/agent.sock, admin: \"unix:{0}/run/admin.sock\"}}\n", home.display());
        fs::write(home.join("cloakroom.yaml"), text).unwrap();
    }

    fn shell(&self, script: &str) -> Command {
        let home = self.home();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{PRELUDE}\n{script}")])
            .current_dir(if home.exists() { &home } else { self.path() })
            .env_clear()
            .envs(self.cluster.environment())
            .env("PATH", format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap()))
            .env("CLOAKROOM_SOCKET", home.join("run/agent.sock"))
            .env("TOKEN", self.token())
            .stdin(Stdio::null());
        command
    }

    /// An administrator's access token, as the page says: base64.
    fn token(&self) -> String {
        let header = self.fake.authorization("admin");
        header.strip_prefix("Token token=\"").unwrap().trim_end_matches('"').to_owned()
    }

    fn run(&mut self, script: &str) {
        let script = script.replace(URL, &self.fake.url());
        let output = self.shell(&script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{script}\nas {}: {printed}{said}", self.current);
        if script.contains("/status") {
            assert!(printed.contains(r#"{"status":"ok"}"#), "{printed}");
        }
        if script.starts_with("cloakroom get") {
            self.got.push(printed);
        }
        self.conjur_calls();
    }

    /// Does what the `conjur` CLI was asked.
    fn conjur_calls(&self) {
        for directory in [self.path().to_owned(), self.home()] {
            let Ok(calls) = fs::read_to_string(directory.join("conjur-calls")) else { continue };
            fs::remove_file(directory.join("conjur-calls")).unwrap();
            for call in calls.split("\n--\n").filter(|call| !call.is_empty()) {
                match call.lines().collect::<Vec<_>>().as_slice() {
                    ["policy", "load", "-b", "root", "-f", file] => {
                        let text = fs::read_to_string(directory.join(file)).unwrap();
                        self.fake.admin_load("root", &text);
                    }
                    ["variable", "set", "-i", id, "-v", value] => self.fake.set_value(id, value.to_string()),
                    other => panic!("unknown: conjur {other:?}"),
                }
            }
        }
    }

    /// Starts the agent of the current service account.
    fn start(&mut self, command: &str) {
        let home = self.home();
        let log = fs::File::create(home.join("log")).unwrap();
        let mut shell = self.shell(&format!("exec {command}"));
        let child = shell.current_dir(&home).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.agents.insert(self.current.clone(), Running { child, home: home.clone() });
        eventually(Duration::from_secs(30), "an agent that answers", || {
            let status = self.shell("cloakroom ready && cloakroom whoami").output().unwrap();
            status.status.success()
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_about_conjur_is_true_from_nothing_to_a_deleted_scope() {
    let mut reader = Reader::new().await;
    let mut configuration = String::new();
    let mut agent = String::new();
    for block in blocks() {
        if block.language == "yaml" && block.text.starts_with("# cloakroom.yaml") {
            configuration = block.text.clone();
            fs::create_dir_all(reader.home()).unwrap();
            reader.configure(&configuration);
        }
        if block.language != "sh" {
            continue;
        }
        // Whose agent it is stands in the sentence before.
        let by = block.before.split("By the agent of `").nth(1).and_then(|rest| rest.split('`').next());
        if let Some(by) = by {
            reader.current = by.to_owned();
            if !reader.agents.contains_key(by) {
                fs::create_dir_all(reader.home()).unwrap();
                reader.configure(&configuration);
                reader.start(&agent);
            }
        }
        if block.text.starts_with("cloakroom agent") {
            agent = block.text.trim().to_owned();
            reader.start(&agent);
        } else if block.text.starts_with("cloakroom ") {
            // One by one, so that each has to succeed.
            let joined = block.text.replace("\\\n", " ");
            for command in joined.lines().filter(|line| !line.trim().is_empty()) {
                reader.run(command);
            }
        } else {
            reader.run(&block.text);
        }
        reader.ran.push(block.text);
    }

    let agents: Vec<&str> = reader.agents.keys().map(String::as_str).collect();
    assert_eq!(agents, ["control-plane:rover", "team-a:deployer", "team-a:my-app"]);
    assert_eq!(reader.got, ["s3cr3t", "n3w"], "what is read is what was written");
    for (kind, id) in [
        ("variable", "poc/zones"),
        ("variable", "poc/eni--hyperion/teamToken"),
        ("group", "poc/eni--hyperion/my-app/readers"),
    ] {
        assert!(!reader.fake.exists(kind, &format!("controlplane/{id}")), "{id} is deleted again");
    }
    assert!(reader.fake.exists("group", "controlplane/poc/eni--hyperion/writers"), "what ties scopes together stays");
    for word in ["config check", "--online", "conjur policy", "onboard app", "offboard environment", "PATCH", "delete "]
    {
        assert!(reader.ran.iter().any(|text| text.contains(word)), "{word} was not run");
    }
    for running in reader.agents.values() {
        let log = fs::read_to_string(running.home.join("log")).unwrap();
        assert!(!log.contains("s3cr3t") && !log.contains("n3w"), "{log}");
    }
}

#[test]
fn every_failure_that_the_command_tells_stands_in_the_table() {
    for code in ["00004E", "00005E", "00006E", "00007E", "00016E", "00049E", "00091E", "00098E", "00099E", "00087E"] {
        assert!(PAGE.contains(&format!("CONJ{code}")), "{code}");
    }
}
