//! T1, T4, T5, T6, T8: files that a real agent renders, and what a hostile world does to them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use cloakroom_tests::agent::{Agent, Options, binary, eventually, own_uid};
use cloakroom_tests::wire::Connection;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{APP, call, id_path};

const A: &str = "poc:eni--hyperion:my-app:externalSecrets/a:";
const B: &str = "poc:eni--hyperion:my-app:externalSecrets/b:";
const SOON: Duration = Duration::from_secs(20);

/// An agent with one set, and where its files are.
struct Rendering {
    agent: Agent,
    place: TempDir,
}

impl Rendering {
    fn start(files: &Value) -> Self {
        let place = TempDir::new().unwrap();
        let agent = Agent::start(Options { extra: sets(place.path(), files), ..Options::default() });
        Self { agent, place }
    }

    /// With the application onboarded, and secrets `a` and `b`.
    fn with_secrets(files: &Value, a: &str, b: &str) -> Self {
        let rendering = Self::start(files);
        let body = json!({"secrets": [
            {"name": "externalSecrets/a", "value": a}, {"name": "externalSecrets/b", "value": b},
        ]});
        assert_eq!(rendering.call("PUT", APP, &body.to_string()).0, 200);
        rendering
    }

    fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = call(&mut Connection::open(&self.agent.socket()), method, path, body);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    fn put(&self, id: &str, value: &str) {
        let (status, answer) = self.call("PUT", &id_path(id), &json!({"value": value, "literal": true}).to_string());
        assert_eq!(status, 200, "{answer}");
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("files")
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory().join(name)).ok()
    }

    /// The line of a file in the status.
    fn line(&self, name: &str) -> Value {
        let (_, status) = self.call("GET", "/api/v1/status", "");
        let files = status["files"].as_array().unwrap();
        files.iter().find(|file| file["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
    }

    fn state(&self, name: &str) -> String {
        self.line(name)["state"].as_str().unwrap().to_owned()
    }

    fn becomes(&self, name: &str, content: &str) {
        eventually(SOON, &format!("{name} being {content:?}"), || self.read(name).as_deref() == Some(content));
    }

    fn is_reported(&self, name: &str, state: &str) {
        eventually(SOON, &format!("{name} being {state}"), || self.state(name) == state);
    }

    fn ready(&self) -> Output {
        let socket = self.agent.socket();
        Command::new(binary()).args(["ready", "--files", "--socket"]).arg(socket).env_clear().output().unwrap()
    }

    fn status_text(&self) -> String {
        let socket = self.agent.socket();
        let output = Command::new(binary()).args(["status", "--socket"]).arg(socket).env_clear().output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn metrics(&self) -> String {
        let answer = Connection::open(&self.agent.admin()).request("GET", "/metrics", &[], b"");
        String::from_utf8(answer.body).unwrap()
    }
}

fn sets(place: &Path, files: &Value) -> String {
    format!("renderSets: {}", json!([{"directory": place.join("files"), "files": files}]))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `cloakroom render` on a host of its own, with a dev-like configuration.
struct Once(TempDir);

impl Once {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let agent = Agent::start(Options::default());
        let body = json!({"secrets": [{"name": "externalSecrets/a", "value": "hunter2hunter2"}]}).to_string();
        assert_eq!(call(&mut Connection::open(&agent.socket()), "PUT", APP, &body).status, 200);
        let kept = agent.into_directory();
        for name in ["store.redb", "store.key", "grants.yaml"] {
            fs::copy(kept.path().join(name), directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    fn config(&self, name: &str, render: &str) -> PathBuf {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        let text = format!(
            "listen: {{socket: {}, allowUids: [{}], admin: \"\"}}\n\
             backend: {{kind: embedded, embedded: {{file: {}, keyFile: {}}}}}\n\
             identity: {{kind: uid}}\npermissions: {{kind: file, file: {}}}\n\
             audit: {{sink: file, file: {}}}\n{render}\n",
            at("agent.sock"),
            own_uid(),
            at("store.redb"),
            at("store.key"),
            at("grants.yaml"),
            at("audit.jsonl"),
        );
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn files(&self, files: &Value) -> PathBuf {
        self.config("cloakroom.yaml", &sets(self.0.path(), files))
    }

    fn run(config: &Path) -> (i32, String) {
        let output = Command::new(binary()).args(["render", "--config"]).arg(config).env_clear().output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn t1_a_destination_that_leads_elsewhere_is_a_mistake_and_nothing_is_written() {
    let once = Once::new();
    let long = "a".repeat(5000);
    for wrong in ["../x", "/etc/x", "a/..data", "a\u{0}b", &long, "..data", "a//b", ""] {
        let config = once.files(&json!([{"name": "a", "secret": A, "destination": wrong}]));
        let (exit, said) = Once::run(&config);
        assert_eq!(exit, 64, "{wrong:.20}: {said}");
        assert!(said.contains("renderSets[0].files[0].destination"), "{said}");
    }
    let twice = json!([
        {"name": "a", "secret": A, "destination": "x/y"},
        {"name": "b", "secret": A, "destination": "x/y"},
        {"name": "c", "secret": A, "destination": "x"},
    ]);
    let (exit, said) = Once::run(&once.files(&twice));
    assert_eq!((exit, said.lines().count()), (64, 2), "{said}");
    assert!(!once.0.path().join("files").exists());
}

#[test]
fn render_does_all_files_once_and_has_a_line_for_each_that_failed() {
    let once = Once::new();
    let files = json!([
        {"name": "good", "template": "a={{ secret('A') }}\n".replace('A', A), "destination": "sub/good.env"},
        {"name": "absent", "secret": B, "destination": "absent"},
        {"name": "late", "templateFile": once.0.path().join("none.tpl"), "destination": "late"},
        {"name": "optional", "secret": B, "destination": "optional", "required": false},
    ]);
    let (exit, said) = Once::run(&once.files(&files));
    assert_eq!(exit, 1, "{said}");
    let failed: Vec<&str> = said.lines().filter(|line| !line.contains("not required")).collect();
    assert_eq!(failed.len(), 2, "{said}");
    assert!(failed.iter().all(|line| line.starts_with("cloakroom: ")), "{said}");
    assert!(said.contains("absent: one of its secrets does not exist"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let good = once.0.path().join("files/sub/good.env");
    assert_eq!(fs::read_to_string(&good).unwrap(), "a=hunter2hunter2\n");
    assert_eq!(fs::metadata(&good).unwrap().mode() & 0o7777, 0o440);
    let (exit, said) = Once::run(&once.files(&json!([{"name": "a", "secret": A, "destination": "a", "mode": 0o600}])));
    assert_eq!((exit, said.as_str()), (0, ""));
    assert_eq!(fs::metadata(once.0.path().join("files/a")).unwrap().mode() & 0o7777, 0o600);
    assert!(!once.0.path().join("files/sub").exists(), "what is not in the set any more is not seen any more");
    let records = fs::read_to_string(once.0.path().join("audit.jsonl")).unwrap();
    let rendered = records.lines().filter(|line| line.contains(r#""operation":"render""#)).count();
    assert!(rendered >= 4 && !records.contains("hunter2"), "{records}");
    let (exit, _) = Once::run(&once.config("none.yaml", ""));
    assert_eq!(exit, 64);
}

#[test]
fn mistakes_in_templates_show_before_a_secret_is_touched() {
    let once = Once::new();
    let outside = once.0.path().join("outside.tpl");
    fs::write(&outside, "{{ env('HOME') }}").unwrap();
    let files = json!([
        {"name": "a", "template": "{{ env('HOME') }}", "destination": "a"},
        {"name": "b", "template": "x\n{{ 1 + }}", "destination": "b"},
        {"name": "c", "source": "{", "destination": "c.json"},
        {"name": "d", "secret": "nonsense", "destination": "d"},
        {"name": "e", "template": "", "source": "", "destination": "e"},
        {"name": "f", "secret": A, "destination": "f", "mode": "0666"},
        {"name": "g", "secret": A, "destination": "g", "onChange": {"http": {"url": "http://10.0.0.1/"}}},
        {"name": "h", "secret": A, "destination": "h", "onChange": {"exec": ["true"]}},
    ]);
    let (exit, said) = Once::run(&once.files(&files));
    assert_eq!((exit, said.lines().count()), (64, 8), "{said}");
    assert!(said.contains("files[1].template: line 2: "), "{said}");
    let config = once.files(&json!([{"name": "a", "templateFile": outside, "destination": "a"}]));
    assert_eq!(Once::run(&config).0, 64);
    let checked = Command::new(binary()).args(["config", "check"]).arg(&config).env_clear().output().unwrap();
    assert_eq!(checked.status.code(), Some(64));
    assert!(!once.0.path().join("audit.jsonl").exists());
    assert!(!once.0.path().join("files").exists());
}

#[test]
fn a_change_reaches_the_files_that_use_the_secret_and_no_other() {
    let rendering = Rendering::with_secrets(
        &json!([
            {"name": "both", "template": format!("{{{{ secret('{A}') }}}}/{{{{ secret('{B}') }}}}"), "destination": "both"},
            {"name": "a", "source": format!("{{\"a\": \"$<{A}>\"}}"), "destination": "d/a.json"},
            {"name": "b", "secret": format!("$<{B}>"), "destination": "d/b"},
        ]),
        "one",
        "two",
    );
    rendering.becomes("both", "one/two");
    rendering.becomes("d/a.json", "{\"a\": \"one\"}");
    rendering.becomes("d/b", "two");
    eventually(SOON, "ready --files", || rendering.ready().status.success());
    let inode = |name: &str| fs::metadata(rendering.directory().join(name)).unwrap().ino();
    let (a, b) = (inode("d/a.json"), inode("d/b"));
    let successes = |name: &str| {
        let line = format!("cloakroom_render_success_total{{file=\"{name}\"}} ");
        let metrics = rendering.metrics();
        metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok()).unwrap()
    };
    let before = successes("b");
    rendering.put(A, "three");
    rendering.becomes("both", "three/two");
    rendering.becomes("d/a.json", "{\"a\": \"three\"}");
    assert_ne!(inode("d/a.json"), a);
    assert_eq!(inode("d/b"), b);
    rendering.put(B, "four");
    rendering.becomes("d/b", "four");
    rendering.becomes("both", "three/four");
    assert!(successes("b") > before);
    let records = rendering.agent.audit();
    let rendered: Vec<_> = records.iter().filter(|record| record["operation"] == "render").collect();
    assert!(rendered.iter().any(|record| record["phase"] == "attempt" && record["decision"] == "allow"));
    assert!(rendered.iter().all(|record| record["subject"] == format!("uid:{}", own_uid())));
    assert!(rendering.metrics().contains("cloakroom_render_age_seconds{file=\"both\"}"));
    let text = rendering.status_text();
    assert_eq!(text.lines().filter(|line| line.starts_with("file ")).count(), 3, "{text}");
}

#[test]
fn a_template_that_changes_on_the_disk_is_rendered_again_and_a_mistake_in_it_keeps_the_file() {
    let outside = TempDir::new().unwrap();
    let template = outside.path().join("app.tpl");
    let swap = |text: &str| {
        fs::write(outside.path().join("next"), text).unwrap();
        fs::rename(outside.path().join("next"), &template).unwrap();
    };
    let files = json!([
        {"name": "a", "templateFile": template, "destination": "a"},
        {"name": "b", "secret": B, "destination": "b"},
    ]);
    let rendering = Rendering::with_secrets(&files, "one", "two");
    rendering.becomes("b", "two");
    rendering.is_reported("a", "failed");
    assert_eq!(rendering.line("a")["error"], "source");
    assert_eq!(rendering.ready().status.code(), Some(5));
    swap(&format!("1 {{{{ secret('{A}') }}}}\n"));
    rendering.becomes("a", "1 one\n");
    swap(&format!("2 {{{{ secret('{A}') }}}}\n"));
    rendering.becomes("a", "2 one\n");
    swap("{{ env('HOME') }}");
    rendering.is_reported("a", "failed");
    assert_eq!(rendering.line("a")["error"], "template");
    assert_eq!(rendering.read("a").as_deref(), Some("2 one\n"));
    // It does not touch the other.
    rendering.put(B, "three");
    rendering.becomes("b", "three");
    assert_eq!(rendering.state("b"), "rendered");
}

#[test]
fn t4_no_failure_shows_anything_of_a_value() {
    let value = "qzXvJ kwQ#%Q~ZXqJ\n\"VKwzQ\\jXq";
    let template = |body: &str| body.replace('@', A);
    let files = json!([
        {"name": "key", "template": template("{{ secret('@')[secret('@')].x }}"), "destination": "key"},
        {"name": "decode", "template": template("{{ secret('@') | b64dec }}"), "destination": "decode"},
        {"name": "type", "template": template("{% if secret('@') != 'dummy' %}{{ secret('@') + 1 }}{% endif %}"), "destination": "type"},
        {"name": "id", "template": template("{% if secret('@') != 'dummy' %}{{ secret(secret('@')) }}{% endif %}"), "destination": "id"},
        {"name": "width", "template": template("{% if secret('@') != 'dummy' %}{{ 'a' | indent(secret('@')) }}{% endif %}"), "destination": "width"},
        {"name": "ini", "source": format!("a = $<{A}>\n"), "destination": "a.ini"},
        {"name": "missing", "template": template("{{ secret('@') }}{{ secret('poc:eni--hyperion:my-app:externalSecrets/none:') }}"), "destination": "missing"},
    ]);
    // What fails with a dummy as well is refused before it begins.
    let refused =
        Agent::refused(&Options { extra: sets(Path::new("/tmp/none"), &json!([files[0]])), ..Options::default() });
    assert_eq!(refused.0, Some(64), "{}", refused.1);
    let files = json!(files.as_array().unwrap()[1..]);
    let place = TempDir::new().unwrap();
    let options = Options { extra: sets(place.path(), &files), log: "trace", ..Options::default() };
    let rendering = Rendering { agent: Agent::start(options), place };
    let body = json!({"secrets": [{"name": "externalSecrets/a", "value": value}]}).to_string();
    assert_eq!(rendering.call("PUT", APP, &body).0, 200);
    for name in ["decode", "type", "id", "width", "ini"] {
        let kinds = ["template", "format"];
        eventually(SOON, name, || {
            let line = rendering.line(name);
            line["state"] == "failed" && kinds.contains(&line["error"].as_str().unwrap())
        });
    }
    rendering.is_reported("missing", "failed");
    let said = [
        rendering.agent.log(),
        rendering.metrics(),
        rendering.status_text(),
        rendering.call("GET", "/api/v1/status", "").1.to_string(),
        fs::read_to_string(rendering.agent.directory().join("audit.jsonl")).unwrap(),
        names(&rendering.directory()).join(" "),
        refused.1,
    ];
    let json = serde_json::to_string(value).unwrap();
    let url = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let forms = [value.to_owned(), json, url, encode(value), encode(&value[1..]), encode(&value[2..])];
    for said in &said {
        for form in &forms {
            // Four bytes of an encoding are no more than three of what was encoded, and may stand anywhere by chance.
            let length = if form.starts_with('q') || form.starts_with('"') { 4 } else { 8 };
            for window in form.as_bytes().windows(length) {
                let found = memchr_find(said.as_bytes(), window);
                assert!(!found, "{:?} in {said}", String::from_utf8_lossy(window));
            }
        }
    }
}

fn memchr_find(text: &[u8], window: &[u8]) -> bool {
    text.windows(window.len()).any(|found| found == window)
}

#[test]
fn t5_a_template_that_never_ends_stops_while_the_api_answers() {
    let outside = TempDir::new().unwrap();
    let template = outside.path().join("app.tpl");
    fs::write(&template, "fine").unwrap();
    let files = json!([{"name": "a", "templateFile": template, "destination": "a"}]);
    let rendering = Rendering::with_secrets(&files, "one", "two");
    rendering.becomes("a", "fine");
    let list = vec!["1"; 200].join(",");
    let begin: String = (0..8).map(|level| format!("{{% for a{level} in [{list}] %}}")).collect();
    let never = format!("{begin}{{{{ secret('{A}') }}}}{}", "{% endfor %}".repeat(8));
    let before = rendering.agent.status_kb("VmRSS");
    for hostile in [never.as_str(), "{{ 'x' * 1073741824 }}", "{{ ((((1 }}", &"{% if 1 %}".repeat(90_000)] {
        fs::write(&template, "fine").unwrap();
        rendering.is_reported("a", "rendered");
        fs::write(&template, hostile).unwrap();
        let mut connection = Connection::open(&rendering.agent.socket());
        eventually(SOON, "the refusal", || {
            // A contract of the API: every request has its answer within ten seconds, however busy the renderer is.
            assert_eq!(call(&mut connection, "GET", &id_path(A), "").status, 200);
            rendering.state("a") == "failed"
        });
        assert_eq!(rendering.read("a").as_deref(), Some("fine"));
    }
    let grown = rendering.agent.status_kb("VmRSS").saturating_sub(before);
    assert!(grown < 200 * 1024, "{grown} kB");
}

/// Reads all of `files` by the directory that `..data` leads to now; none where there is none yet.
fn read_by_handle(directory: &Path, files: &[&str]) -> Option<Vec<(String, u32)>> {
    let data = File::open(directory.join("..data")).ok()?;
    let by_handle = PathBuf::from(format!("/proc/self/fd/{}", data.as_raw_fd()));
    let directory_mode = data.metadata().unwrap().mode() & 0o7777;
    assert_eq!(directory_mode, 0o750);
    let read = |name: &&str| {
        let mut file = File::open(by_handle.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        (content, file.metadata().unwrap().mode() & 0o7777)
    };
    Some(files.iter().map(read).collect())
}

#[test]
fn t6_five_files_are_of_one_generation_over_a_thousand_updates_and_two_hundred_kills() {
    const FILES: [&str; 5] = ["f0", "f1", "f2", "f3", "sub/f4"];
    let padding = "x".repeat(2000);
    let files: Vec<Value> = FILES
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let template = format!("{{{{ secret('{A}') }}}}|{padding}\n");
            json!({"name": format!("f{number}"), "template": template, "destination": file})
        })
        .collect();
    let place = TempDir::new().unwrap();
    // A file of an earlier time that everybody could write.
    fs::create_dir(place.path().join("files")).unwrap();
    fs::write(place.path().join("files/f0"), "old").unwrap();
    fs::set_permissions(place.path().join("files/f0"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let extra = format!("{}\nlimits: {{callerRate: 100000, callerBurst: 200000}}", sets(place.path(), &json!(files)));
    let mut rendering = Rendering { agent: Agent::start(Options { extra, ..Options::default() }), place };
    let body = json!({"secrets": [{"name": "externalSecrets/a", "value": "0"}]}).to_string();
    assert_eq!(rendering.call("PUT", APP, &body).0, 200);
    rendering.becomes("sub/f4", &format!("0|{padding}\n"));

    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (stop, seen, directory, padding) =
            (Arc::clone(&stop), Arc::clone(&seen), rendering.directory(), padding.clone());
        std::thread::spawn(move || {
            let mut last = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let all = read_by_handle(&directory, &FILES).unwrap();
                let number = all[0].0.split('|').next().unwrap().parse::<u64>().unwrap();
                let whole = format!("{number}|{padding}\n");
                for (content, mode) in &all {
                    assert_eq!((content, *mode), (&whole, 0o440), "a mix of generations");
                }
                assert!(number >= last, "an older generation came back");
                last = number;
                seen.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        })
    };
    let mut update = 0_u64;
    for round in 0..200 {
        for _ in 0..5 {
            update += 1;
            rendering.put(A, &update.to_string());
        }
        // Now and then without giving it the time to render, now and then in the middle of it.
        std::thread::park_timeout(Duration::from_millis(round % 7));
        rendering.agent.kill_and_restart();
    }
    rendering.becomes("f0", &format!("{update}|{padding}\n"));
    rendering.becomes("sub/f4", &format!("{update}|{padding}\n"));
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(update, 1000);
    assert!(seen.load(Ordering::Relaxed) > 1000, "the reader hardly looked");
    let left = names(&rendering.directory());
    let generations = left.iter().filter(|name| name.starts_with("..g")).count();
    assert!(generations <= 3, "{left:?}");
    assert_eq!(left.len() - generations, 6, "{left:?}");
}

/// Runs a script in a mount namespace of its own; none where that needs rights that the tests do not have.
fn in_a_namespace(script: &str) -> Option<String> {
    if !nix::unistd::getuid().is_root() {
        println!("left out: a small tmpfs is mounted by root only");
        return None;
    }
    let output =
        Command::new("unshare").args(["-m", "--propagation", "private", "sh", "-ec", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn t6_without_room_or_inodes_or_on_a_read_only_file_system_the_old_set_stays_and_nothing_else() {
    let once = Once::new();
    let place = once.0.path().join("files");
    let file =
        |template: &str, more: usize| {
            let mut files = vec![json!({"name": "a", "template": template, "destination": "a"})];
            files.extend((0..more).map(
                |number| json!({"name": format!("m{number}"), "secret": A, "destination": format!("d{number}/m")}),
            ));
            sets(once.0.path(), &json!(files))
        };
    let small = once.config("small.yaml", &file(&format!("old {{{{ secret('{A}') }}}}"), 0));
    let large = once.config("large.yaml", &file("{{ 'x' * 200000 }}", 0));
    let many = once.config("many.yaml", &file("new", 40));
    let other = once.config("other.yaml", &file("new", 0));
    let binary = binary().display().to_string();
    let place = place.display().to_string();
    for (mount, prepare, failing, kind) in [
        ("size=64k", "", &large, "there is no room"),
        ("size=4m,nr_inodes=24", "", &many, "there is no room"),
        ("size=4m", &*format!("mount -o remount,ro {place}; "), &other, "read-only"),
    ] {
        let script = format!(
            "mkdir -p {place}; mount -t tmpfs -o {mount},mode=0755 tmpfs {place}
            {binary} render --config {}
            before=$(cd {place}; ls -lAR --time-style=full-iso | sort)
            {prepare}
            if {binary} render --config {} 2>&1; then echo succeeded; fi
            after=$(cd {place}; ls -lAR --time-style=full-iso | sort)
            cat {place}/a; echo
            [ \"$before\" = \"$after\" ] && echo unchanged || {{ echo \"$before\"; echo \"$after\"; }}
            mount -o remount,rw,size=8m,nr_inodes=0 {place}
            {binary} render --config {}; head -c 4 {place}/a",
            small.display(),
            failing.display(),
            other.display(),
        );
        let Some(said) = in_a_namespace(&script) else { return };
        assert!(said.contains(kind), "{mount}: {said}");
        assert!(said.contains("old hunter2hunter2\nunchanged"), "{mount}: {said}");
        assert!(said.ends_with("new"), "{mount}: {said}");
        assert!(!said.contains("succeeded"), "{mount}: {said}");
    }
}

#[test]
fn t8_a_file_without_its_secret_is_what_the_configuration_says_and_that_is_reported() {
    let files = json!([
        {"name": "fail", "secret": A, "destination": "fail"},
        {"name": "keep", "secret": A, "destination": "keep", "onMissing": "keep"},
        {"name": "empty", "secret": A, "destination": "empty", "onMissing": "empty"},
        {"name": "other", "secret": B, "destination": "other"},
    ]);
    let rendering = Rendering::with_secrets(&files, "one", "two");
    for name in ["fail", "keep", "empty"] {
        rendering.becomes(name, "one");
    }
    let expected = |error: &str| {
        for (name, state, content) in [("fail", "failed", "one"), ("keep", "kept", "one"), ("empty", "emptied", "")] {
            rendering.is_reported(name, state);
            let line = rendering.line(name);
            assert_eq!(
                (line["error"].as_str(), rendering.read(name).as_deref()),
                (Some(error), Some(content)),
                "{line}"
            );
            assert!(line["nextTrySeconds"].as_f64().is_some(), "{line}");
        }
        assert_eq!(rendering.state("other"), "rendered");
    };
    // The secret is deleted.
    assert_eq!(rendering.call("DELETE", &id_path(A), "").0, 204);
    expected("missing");
    assert!(rendering.status_text().contains("one of its secrets does not exist"), "{}", rendering.status_text());
    // It is there again.
    rendering.put(A, "one");
    for name in ["fail", "keep", "empty"] {
        rendering.becomes(name, "one");
        rendering.is_reported(name, "rendered");
    }
    // The right is taken away, for this secret's scope only.
    let grants = fs::read_to_string(rendering.agent.grants()).unwrap();
    fs::write(rendering.agent.grants(), grants.replace("secrets_read, ", "")).unwrap();
    rendering.agent.signal(Signal::SIGHUP);
    for name in ["fail", "keep", "empty"] {
        eventually(Duration::from_secs(40), "the refusal", || rendering.line(name)["error"] == "denied");
    }
    assert_eq!(rendering.read("empty").as_deref(), Some(""));
    assert_eq!(rendering.read("keep").as_deref(), Some("one"));
    assert_eq!(rendering.read("fail").as_deref(), Some("one"));
    assert!(
        rendering.agent.audit().iter().any(|record| record["operation"] == "render" && record["decision"] == "deny")
    );
}

#[test]
fn a_program_is_told_of_a_change_and_not_of_the_first_file() {
    let outside = TempDir::new().unwrap();
    let told = outside.path().join("told");
    let script = format!("echo x >> {}", told.display());
    let files = json!([
        {
            "name": "a", "secret": A, "destination": "a",
            "onChange": {"exec": ["/bin/sh", "-c", script], "quiet": "100ms"},
        },
        {
            "name": "b", "secret": A, "destination": "b",
            "onChange": {"http": {"url": format!("unix:{}", outside.path().join("none.sock").display())}, "quiet": "0s"},
        },
    ]);
    let rendering = Rendering::with_secrets(&files, "one", "two");
    rendering.becomes("a", "one");
    assert!(!told.exists());
    rendering.put(A, "two");
    rendering.becomes("a", "two");
    eventually(SOON, "the command", || fs::read_to_string(&told).is_ok_and(|text| text == "x\n"));
    eventually(SOON, "the report", || rendering.line("a")["onChange"]["state"] == "done");
    eventually(SOON, "the failure", || rendering.line("b")["onChange"]["error"] == "unreachable");
    assert!(rendering.line("b")["onChange"]["nextTrySeconds"].as_f64().is_some());
    assert_eq!(rendering.state("b"), "rendered", "a program that is away is no failure of the file");
}

#[test]
fn a_restart_writes_nothing_that_is_as_it_should_be() {
    let mut rendering = Rendering::with_secrets(&json!([{"name": "a", "secret": A, "destination": "a"}]), "one", "two");
    rendering.becomes("a", "one");
    let data = fs::read_link(rendering.directory().join("..data")).unwrap();
    rendering.agent.kill_and_restart();
    rendering.is_reported("a", "rendered");
    assert_eq!(fs::read_link(rendering.directory().join("..data")).unwrap(), data);
}

#[test]
fn a_directory_that_cannot_be_used_stops_the_start_with_its_reason() {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("files"), "in the way").unwrap();
    let files = json!([{"name": "a", "secret": A, "destination": "a"}]);
    let (exit, said) = Agent::refused(&Options { extra: sets(place.path(), &files), ..Options::default() });
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("the directory cannot be used"), "{said}");
    let extra = format!("renderSets: {}", json!([{"directory": "/proc", "requireMemory": true, "files": files}]));
    let (exit, said) = Agent::refused(&Options { extra, ..Options::default() });
    assert!(exit == Some(1) && said.contains("requireMemory demands tmpfs"), "{said}");
}
