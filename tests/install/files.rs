//! Files and environments made of secrets, in pods: the examples, in ordinary and in mandatory namespaces.

use cloakroom_tests::agent::eventually;

use super::pods::Pod;
use super::release::{Release, SCOPE, START, TEAM, VALUE, example};

const ROTATED: &str = "rotated-by-somebody-with-kubectl";

const EXAMPLES: [&str; 4] = ["files.yaml", "files-statefulset.yaml", "files-jobs.yaml", "exec.yaml"];

fn clean(release: &Release) {
    release.delete(TEAM, &["deployment,statefulset,job,cronjob,configmap", "--all"]);
}

fn logs(release: &Release, object: &str) -> String {
    release.cluster.try_kubectl(&["-n", TEAM, "logs", object, "-c", "app"], "").1
}

fn file(release: &Release, object: &str, container: &str, path: &str) -> String {
    let path = format!("/cloakroom/files/{path}");
    release.cluster.try_kubectl(&["-n", TEAM, "exec", object, "-c", container, "--", "cat", &path], "").1
}

fn rotate(release: &Release, value: &str) {
    let change = format!(r#"{{"stringData":{{"clientSecret":"{value}"}}}}"#);
    release.cluster.kubectl(&["-n", SCOPE, "patch", "secret", "my-app", "--type=merge", "-p", &change]);
}

/// Every way, from the manifest to the program that has the value, and a rotation.
fn all_ways_run(release: &Release) {
    let cluster = &release.cluster;
    clean(release);
    for name in EXAMPLES {
        cluster.apply(&example(name));
    }
    cluster.kubectl(&["-n", TEAM, "create", "job", "files-report-now", "--from=cronjob/files-report"]);
    release.wait(TEAM, "job/files-migrate", "condition=Complete");
    release.wait(TEAM, "job/files-report-now", "condition=Complete");
    let said = cluster.kubectl(&["-n", TEAM, "logs", "job/files-migrate", "-c", "migrate"]);
    assert_eq!(said, "read\n");
    for deployment in ["deployment/files", "deployment/exec"] {
        release.wait(TEAM, deployment, "condition=Available");
        eventually(START, "the program has the value", || {
            logs(release, deployment).contains(&format!("a secret of {} characters", VALUE.len()))
        });
    }
    eventually(START, "the set is rolled out", || {
        let path = "jsonpath={.status.readyReplicas}";
        cluster.kubectl(&["-n", TEAM, "get", "statefulset", "files-store", "-o", path]) == "1"
    });
    assert_eq!(file(release, "files-store-0", "store", "store.properties"), format!("password={VALUE}\n"));
    let json = file(release, "deployment/files", "app", "conf/app.json");
    assert_eq!(json, format!("{{\"client\": \"my-app\", \"secret\": \"{VALUE}\"}}\n"));

    rotate(release, ROTATED);
    eventually(START, "the file has changed", || {
        file(release, "files-store-0", "store", "store.properties") == format!("password={ROTATED}\n")
            && file(release, "deployment/files", "app", "conf/app.json").contains(ROTATED)
    });
    eventually(START, "the program was told and has read it", || {
        logs(release, "deployment/files").contains(&format!("a secret of {} characters", ROTATED.len()))
    });
    let status = cluster.kubectl(&[
        "-n",
        TEAM,
        "exec",
        "deployment/files",
        "-c",
        "cloakroom-agent",
        "--",
        "cloakroom",
        "status",
    ]);
    assert!(status.contains("env rendered /cloakroom/files/app.env"), "{status}");
    let written = cluster.kubectl(&["-n", TEAM, "get", "all,cm", "-o", "yaml"]);
    assert!(!written.contains(VALUE) && !written.contains(ROTATED), "a manifest holds a value");
    rotate(release, VALUE);
    clean(release);
}

#[test]
fn files_and_environments_reach_programs_of_all_workloads_and_so_does_a_rotation() {
    let Some(release) = Release::installed() else { return };
    all_ways_run(&release);
}

#[test]
fn in_a_mandatory_namespace_files_and_environments_pass_webhook_and_policy() {
    let Some(release) = Release::installed() else { return };
    let label = |value: &str| {
        release.cluster.kubectl(&[
            "label",
            "namespace",
            TEAM,
            "--overwrite",
            &format!("cloakroom.dev/injection{value}"),
        ])
    };
    label("=required");
    all_ways_run(&release);
    label("-");
}

/// Its own image has no shell and no file but the program.
#[test]
fn a_program_in_an_image_of_nothing_else_is_started_with_its_environment_resolved() {
    let Some(release) = Release::installed() else { return };
    let wish = "labels: {cloakroom.dev/inject: 'true'}\nannotations: {cloakroom.dev/mode: exec}";
    let pod = Pod::new("scratch")
        .metadata(wish)
        .spec("restartPolicy: Never")
        .container("env: [{name: URL, value: 'user:$<poc:eni--hyperion:my-app:clientSecret:>@host'}]")
        .yaml()
        .replace("image: client:test", "image: cloakroom-agent:0.1.0");
    let shell = pod.lines().find(|line| line.contains("command:")).unwrap();
    let made = |command: &str| pod.replace(shell, &format!("    command: [{command}]"));
    let code = || {
        let path = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
        release.cluster.kubectl(&["-n", TEAM, "get", "pod", "scratch", "-o", path])
    };
    for (command, phase, exit, says) in [
        ("cloakroom, version", "Succeeded", "0", "cloakroom 0.1.0"),
        // Exit code and output are the program's, which has words of its own for an option that it does not know.
        ("cloakroom, version, --colour", "Failed", "2", "unexpected argument '--colour'"),
    ] {
        release.delete(TEAM, &["pod", "scratch"]);
        release.cluster.apply(&made(command));
        release.wait(TEAM, "pod/scratch", &format!("jsonpath={{.status.phase}}={phase}"));
        let said = logs(&release, "scratch");
        assert!(said.contains(says) && code() == exit, "{} {said}", code());
    }
    // A secret that is not there: the variable's name, and no program.
    release.delete(TEAM, &["pod", "scratch"]);
    release.cluster.apply(&made("cloakroom, version").replace("clientSecret", "externalSecrets/none"));
    release.wait(TEAM, "pod/scratch", "jsonpath={.status.phase}=Failed");
    let said = logs(&release, "scratch");
    assert!(said.contains("URL") && !said.contains("cloakroom 0.1.0") && code() != "0", "{said}");
    release.delete(TEAM, &["pod", "scratch"]);
}

#[test]
fn a_pod_that_asks_for_what_cannot_be_is_refused_with_the_key_and_the_way_out() {
    let Some(release) = Release::installed() else { return };
    for (annotations, says) in [
        ("{cloakroom.dev/mode: init}", "cloakroom.dev/mode must be sidecar or exec where there are no files"),
        ("{cloakroom.dev/files: '[{name: a, destination: ../a, source: x}]'}", "cloakroom.dev/files[0].destination: "),
        (
            "{cloakroom.dev/files: '[{name: a, destination: a, template: \"{{ env }}\"}]'}",
            "cloakroom.dev/files[0].template: ",
        ),
        ("{cloakroom.dev/templates: none}", "cloakroom.dev/templates names a volume that the pod does not have"),
        ("{cloakroom.dev/env: app}", "cloakroom.dev/env must be used together with cloakroom.dev/mode: exec"),
    ] {
        let pod = Pod::new("wrong")
            .metadata(&format!("labels: {{cloakroom.dev/inject: 'true'}}\nannotations: {annotations}"));
        let (made, said) = release.cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.yaml());
        assert!(!made && said.contains(says), "{annotations}: {said}");
    }
    let pod =
        Pod::new("wrong").metadata("labels: {cloakroom.dev/inject: 'true'}\nannotations: {cloakroom.dev/mode: exec}");
    let without = pod.yaml().lines().filter(|line| !line.contains("command:")).collect::<Vec<_>>().join("\n");
    let (made, said) = release.cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &without);
    assert!(!made && said.contains("`app` has no command"), "{said}");
}
