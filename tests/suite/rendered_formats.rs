//! T8: values through the escapers of every format, read back by programs of other languages where they are installed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::render::format::{Format, Plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

const AT: &str = "$<poc:eni--hyperion:my-app:externalSecrets/a:>";
const COUNT: usize = 300;

/// Values that are likely to break something, and any others; the same each time.
fn values() -> Vec<String> {
    let nasty = prop::sample::select(
        "'\"\\$`#;=:!&<>]%{}[]*|-, \t\n\r\u{c}\u{85}\u{2028}\u{feff}\u{1f600}é\u{7f}\u{b}@nu0~^\0"
            .chars()
            .collect::<Vec<_>>(),
    );
    let strategy = prop::collection::vec(prop_oneof![4 => nasty, 1 => any::<char>()], 1..24);
    let mut runner = TestRunner::deterministic();
    let mut values: Vec<String> =
        (0..COUNT).map(|_| strategy.new_tree(&mut runner).unwrap().current().into_iter().collect()).collect();
    values.extend(
        ["a\nb", "it's", "say \"x\"", "$HOME `id` $(id)", "a # b", "a\r\nb", "\\", "'\\''", "!x"].map(str::to_owned),
    );
    values
}

/// Writes each value into a file of its own; answers with those that the format takes.
fn written(directory: &Path, format: Format, source: &str) -> Vec<(usize, String)> {
    let plan = Plan::read(format, &source.replace('@', AT), 10).unwrap();
    let fits = values().into_iter().enumerate().filter(|(number, value)| {
        let Ok(text) = plan.write(&[value.as_str()], 1 << 20) else { return false };
        fs::write(directory.join(number.to_string()), &*text).unwrap();
        true
    });
    fits.collect()
}

/// Runs a program with one path a line on its standard input; it answers one base64 a line.
fn read_back(mut program: Command, directory: &Path, expected: &[(usize, String)]) {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let paths: String = expected.iter().map(|(number, _)| format!("{}/{number}\n", directory.display())).collect();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(paths.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{program:?}");
    for (line, (number, value)) in lines.iter().zip(expected) {
        let read = STANDARD.decode(line).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&read),
            *value,
            "{number}: {:?}",
            fs::read_to_string(directory.join(number.to_string()))
        );
    }
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("left out: {program} is not installed");
    }
    found
}

fn python(read: &str) -> Command {
    let mut command = Command::new("python3");
    command.args([
        "-c",
        &format!("import sys, base64\nfor path in sys.stdin.read().splitlines():\n    {read}\n    print(base64.b64encode(v.encode()).decode())"),
    ]);
    command
}

fn check(format: Format, source: &str, least: usize, program: &str, command: Command) {
    let directory = TempDir::new().unwrap();
    let expected = written(directory.path(), format, source);
    assert!(expected.len() >= least, "{} of {}", expected.len(), values().len());
    if installed(program) {
        read_back(command, directory.path(), &expected);
    }
}

#[test]
fn t8_python_and_node_read_json_back() {
    let source = "{\"a\": \"@\"}";
    check(
        Format::Json,
        source,
        COUNT,
        "python3",
        python("import json; v = json.load(open(path, encoding='utf-8'))['a']"),
    );
    let mut node = Command::new("node");
    node.args(["-e", "const fs = require('fs'); for (const p of fs.readFileSync(0, 'utf8').trim().split('\\n')) console.log(Buffer.from(JSON.parse(fs.readFileSync(p, 'utf8')).a).toString('base64'))"]);
    check(Format::Json, source, COUNT, "node", node);
}

#[test]
fn t8_python_reads_toml_back() {
    for source in ["a = @\n", "a = '@'\n", "a = \"\"\"@\"\"\"\n"] {
        check(
            Format::Toml,
            source,
            COUNT,
            "python3",
            python("import tomllib; v = tomllib.load(open(path, 'rb'))['a']"),
        );
    }
}

#[test]
fn t8_python_reads_xml_back() {
    let text = "import xml.etree.ElementTree as E; v = E.parse(path).getroot().text";
    let attribute = "import xml.etree.ElementTree as E; v = E.parse(path).getroot().attrib['b']";
    for (source, read) in [("<a>@</a>", text), ("<a b='@'/>", attribute), ("<a><![CDATA[@]]></a>", text)] {
        check(Format::Xml, source, 20, "python3", python(read));
    }
}

#[test]
fn t8_python_reads_ini_back() {
    let read = "import configparser as C; c = C.RawConfigParser(); c.read_file(open(path, encoding='utf-8', newline='\\n')); v = c['s']['a']";
    check(Format::Ini, "[s]\na = @\n", 20, "python3", python(read));
}

#[test]
fn t8_a_shell_reads_env_back() {
    for source in ["A=@\n", "A=\"@\"\n", "A='@'\n", "# it's\nexport A=@ # @\n"] {
        let script = "while IFS= read -r path; do (set -a; . \"$path\"; printf %s \"$A\" | base64 -w0; echo); done";
        let mut shell = Command::new("bash");
        shell.args(["-c", script]);
        check(Format::Env, source, 200, "bash", shell);
    }
}

#[test]
fn t8_java_reads_properties_back() {
    if !installed("java") {
        return;
    }
    let program = "import java.nio.file.*; import java.util.*; import java.io.*;\n\
        class Read { public static void main(String[] a) throws Exception {\n\
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in)); String path;\n\
        while ((path = in.readLine()) != null) { Properties p = new Properties(); p.load(new FileInputStream(path));\n\
        System.out.println(Base64.getEncoder().encodeToString(p.getProperty(\"a\").getBytes(\"UTF-8\"))); } } }";
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("Read.java");
    fs::write(&file, program).unwrap();
    let runs = Command::new("java").arg(&file).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        println!("left out: java runs no source here");
        return;
    }
    let mut java = Command::new("java");
    java.arg(&file);
    check(Format::Properties, "a=@\n", COUNT, "java", java);
}
