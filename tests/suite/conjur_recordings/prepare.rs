//! What was done to the recorded servers and not recorded: loads and values, before a file and before an exchange.

use cloakroom_tests::conjur::{FakeConjur, JwtService};

/// What a file needs before its first exchange.
pub(super) fn file(fake: &FakeConjur, name: &str) {
    match name {
        "login" => first_server(fake),
        "secret-get-ok" => {
            load(fake, "controlplane/dev", "- !variable\n  id: typed\n  mime_type: application/json\n");
            fake.set_value("controlplane/dev/typed", "{\"a\":1}");
        }
        "secret-get-errors" => fake.set_value("controlplane/dev/team-a/teamToken", "team-token"),
        "batch-get-ok" => {
            load(fake, "controlplane/dev", "- !variable binary\n- !variable big\n- !variable many\n");
            fake.set_value("controlplane/dev/team-a/clientSecret", "team-a-client-secret");
            fake.set_value("controlplane/dev/a/b/c", "x".repeat(100));
        }
        "batch-get-limits" => bulk(fake),
        "secret-versions" => (1..=25).for_each(|n| fake.set_value("controlplane/dev/many", format!("value-{n}"))),
        "policy-delete-branch" => {
            load(
                fake,
                "controlplane/dev",
                "- !policy\n  id: team-del\n  body:\n  - !variable clientSecret\n  - !host worker\n",
            );
            load(fake, "controlplane/dev/team-del", APP_DEL);
        }
        "policy-delete-variable" => load(fake, "controlplane/dev", "- !variable gone\n"),
        "api-key-rotation" => load(fake, "controlplane", "- !host rotator\n"),
        "policy-load-conflict" => load(fake, "controlplane", "- !policy qa\n- !policy prod\n"),
        "policy-replace-own-branch" => {
            load(fake, "controlplane/dev", "- !policy\n  id: repl\n  body:\n  - !variable from-parent\n");
        }
        "policy-load-size" => {
            load(
                fake,
                "controlplane/dev",
                "- !policy size-10\n- !policy size-100\n- !policy size-1000\n- !policy size-3000\n",
            );
        }
        "authn-jwt-enable-by-api" => {
            load_root(fake, KUBE2);
            let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
            for (name, value) in [
                ("public-keys", FakeConjur::public_keys("kube-key-1")),
                ("issuer", issuer),
                ("audience", "conjur".to_owned()),
            ] {
                fake.set_value(&format!("conjur/authn-jwt/kube2/{name}"), value);
            }
        }
        "conditional-get" => fake.set_value("controlplane/dev/zones", ZONES),
        "error-bodies-by-accept" => load(fake, "controlplane/dev", "- !variable perf\n"),
        "privileges" => {
            load(fake, "controlplane/dev", PRIV);
            for name in ["only-execute", "only-update", "only-read", "nothing"] {
                fake.set_value(&format!("controlplane/dev/priv/{name}"), "v");
            }
        }
        "groups-access" => groups_jwt(fake),
        _ => groups_file(fake, name),
    }
}

fn groups_file(fake: &FakeConjur, name: &str) {
    match name {
        "groups-load-repeat" => perf(fake),
        "groups-variable-versions" => {
            let grant = "- !grant\n  role: !group writers\n  member: !host /apps/system:serviceaccount:ns-a:writer-c\n";
            load(
                fake,
                "controlplane/poc/team",
                &(app("app1", &["password", "second"], "controlplane/poc/team") + grant),
            );
        }
        "groups-single-privileges" => {
            load_root(fake, "- !host p-read\n- !host p-execute\n- !host p-update\n- !host p-ex-up\n");
            // Ten more rounds of two writes at once.
            let variable = "controlplane/poc/team/app1/password";
            let next = fake.versions(variable).last().unwrap().0 + 1;
            (next..17).for_each(|n| fake.set_value(variable, format!("more-{n}")));
            fake.set_value(variable, "c11-b");
        }
        "groups-metadata-poll" => {
            for (app, value) in [("a0", "1"), ("a1", "1"), ("a1", "2")] {
                fake.set_value(&format!("controlplane/perf/t50/{app}/db-password"), value);
            }
        }
        "groups-load-concurrent" => siblings(fake),
        "groups-delete-race" => fourth(fake, &["old0"]),
        _ => {}
    }
}

/// What one exchange needs.
pub(super) fn exchange(fake: &FakeConjur, file: &str, name: &str) {
    match (file, name) {
        ("authn-jwt-status", "public-keys variable holds nonsense") => {
            fake.set_value("conjur/authn-jwt/kube/public-keys", "nonsense");
        }
        ("authn-jwt-status", "after repair") => {
            fake.set_value("conjur/authn-jwt/kube/public-keys", FakeConjur::public_keys("kube-key-1"));
        }
        ("policy-load-put", "set value of keep") => {
            load(
                fake,
                "controlplane/dev",
                "- !policy\n  id: replaced\n  body:\n  - !variable keep\n  - !variable drop\n",
            );
        }
        ("policy-load-forbidden", "role with read only: POST") => permit_alice(fake, "read"),
        ("policy-load-forbidden", "role with read and create: POST") => permit_alice(fake, "create"),
        ("policy-replace-own-branch", "replace") => {
            for name in ["keep", "drop", "from-parent"] {
                fake.set_value(&format!("controlplane/dev/repl/{name}"), format!("value of {name}"));
            }
        }
        ("groups-delete-race", "load first by 10 ms, round 4: load") => fourth(fake, &["old0", "old1", "old2"]),
        // The load that deadlocked with the deletion, and won.
        ("groups-delete-race", "delete first by 40 ms, round 3: is there the team") => {
            fourth(fake, &["old0", "old1", "old2"]);
            let text = app("d3", &["password"], "controlplane/sib/s4");
            fake.load_as("host/onb-s4", "controlplane/sib/s4", &text).unwrap();
        }
        ("conditional-get", "after a change, old ETag") => {
            fake.set_value("controlplane/dev/zones", "{\"zones\":[\"changed\"]}");
        }
        ("conditional-get", "changed back: the first ETag is valid again (it is a hash of the body)") => {
            fake.set_value("controlplane/dev/zones", ZONES);
        }
        _ => {}
    }
}

const ZONES: &str = "{\"zones\":[\"dataplane-1\",\"dataplane-2\"]}";

const APP_DEL: &str = "\
- !policy
  id: app-del
  body:
  - !variable clientSecret
  - !host runner
  - !permit
    role: !host runner
    privileges: [read, execute]
    resource: !variable clientSecret
";

const PRIV: &str = "\
- !policy
  id: priv
  body:
  - !host h
  - !variable only-execute
  - !variable only-update
  - !variable only-read
  - !variable nothing
  - !permit {role: !host h, privileges: [execute], resource: !variable only-execute}
  - !permit {role: !host h, privileges: [update], resource: !variable only-update}
  - !permit {role: !host h, privileges: [read], resource: !variable only-read}
";

const KUBE2: &str = "\
- !policy
  id: conjur/authn-jwt/kube2
  body:
  - !webservice
  - !group apps
  - !variable public-keys
  - !variable issuer
  - !variable audience
  - !permit {role: !group apps, privileges: [read, authenticate], resource: !webservice }
- !policy
  id: kube-apps
  body:
  - !host
    id: by-url
    annotations:
      authn-jwt/kube2/kubernetes.io/serviceaccount/name: agent
- !grant {role: !group conjur/authn-jwt/kube2/apps, member: !host kube-apps/by-url}
";

/// Loads as the role that owned the branches on the recorded servers.
fn load(fake: &FakeConjur, branch: &str, text: &str) {
    fake.load_as("host/secrets-manager", branch, text).unwrap();
}

fn load_root(fake: &FakeConjur, text: &str) {
    fake.admin_load("root", text);
}

fn permit_alice(fake: &FakeConjur, privilege: &str) {
    load_root(
        fake,
        &format!("- !permit {{role: !user alice, privileges: [{privilege}], resource: !policy controlplane}}\n"),
    );
}

fn bulk(fake: &FakeConjur) {
    let names: Vec<String> = (0..300).map(|n| format!("v{n:03}")).collect();
    let variables: String = names.iter().map(|name| format!("  - !variable {name}\n")).collect();
    load(fake, "controlplane/dev", &format!("- !policy\n  id: bulk\n  body:\n{variables}"));
    for name in names {
        fake.set_value(&format!("controlplane/dev/bulk/{name}"), format!("value-{name}"));
    }
}

fn first_server(fake: &FakeConjur) {
    load_root(fake, "- !user alice\n- !user operator\n- !group secrets-managers\n- !host secrets-manager\n");
    load_root(fake, "- !grant {role: !group secrets-managers, member: !host secrets-manager}\n");
    load_root(fake, "- !policy {id: controlplane, owner: !group secrets-managers}\n");
    let setup = JwtService {
        identity_path: Some("kube-apps".to_owned()),
        public_keys: FakeConjur::public_keys("kube-key-1"),
        ..JwtService::default()
    };
    fake.enable_jwt("kube", &setup);
    let mut hosts = String::new();
    for (name, namespace) in [
        ("agent", Some("controlplane")),
        ("secret-manager", Some("controlplane")),
        ("not-permitted", Some("controlplane")),
        ("wrong-namespace", Some("elsewhere")),
        ("no-annotation", None),
    ] {
        hosts += &format!("  - !host\n    id: system:serviceaccount:controlplane:{name}\n");
        if let Some(namespace) = namespace {
            hosts += &format!("    annotations:\n      authn-jwt/kube/kubernetes.io/namespace: {namespace}\n");
        }
    }
    load_root(fake, &format!("- !policy\n  id: kube-apps\n  body:\n{hosts}"));
    for name in ["agent", "secret-manager", "wrong-namespace", "no-annotation"] {
        let member = format!("kube-apps/system:serviceaccount:controlplane:{name}");
        load_root(fake, &format!("- !grant\n  role: !group conjur/authn-jwt/kube/apps\n  member: !host {member}\n"));
    }
    let manager = "kube-apps/system:serviceaccount:controlplane:secret-manager";
    load_root(fake, &format!("- !grant\n  role: !group secrets-managers\n  member: !host {manager}\n"));
    load_root(fake, "- !grant {role: !group conjur/authn-jwt/kube/operators, member: !user operator}\n");
    load_root(fake, "- !policy\n  id: conjur/authn-jwt/disabled\n  body:\n  - !webservice\n");
}

fn groups_jwt(fake: &FakeConjur) {
    fake.enable_jwt("k8s", &JwtService { public_keys: FakeConjur::public_keys("k1"), ..JwtService::default() });
    for host in ["ns-a:reader-b", "ns-a:writer-c", "ns-d:other-d", "ns-a:app1"] {
        let member = format!("apps/system:serviceaccount:{host}");
        load_root(fake, &format!("- !grant\n  role: !group conjur/authn-jwt/k8s/apps\n  member: !host {member}\n"));
    }
}

/// A scope as the product makes it: slots, groups, their rights, and the parent's groups in them.
fn scope(name: &str, slots: &[&str], parent: &str, anchor: &str) -> String {
    let slots: String = slots.iter().map(|slot| format!("    - !variable {slot}\n")).collect();
    format!(
        "- !policy\n  id: {name}\n  body:\n  - &{anchor}\n{slots}  - !group readers\n  - !group writers\n  \
         - !permit\n    role: !group readers\n    privileges: [ read, execute ]\n    resource: *{anchor}\n  \
         - !permit\n    role: !group writers\n    privileges: [ read, execute, update ]\n    resource: *{anchor}\n  \
         - !grant\n    role: !group readers\n    member: !group /{parent}/readers\n  \
         - !grant\n    role: !group writers\n    member: !group /{parent}/writers\n"
    )
}

fn app(name: &str, slots: &[&str], parent: &str) -> String {
    scope(name, slots, parent, "slots")
}

/// Teams with one, fifty and five hundred apps.
fn perf(fake: &FakeConjur) {
    load(fake, "controlplane", &scope("perf", &["env-slot"], "controlplane", "slots"));
    for (team, apps) in [("t1", 0), ("t50", 50), ("t500", 500)] {
        load(fake, "controlplane/perf", &scope(team, &["team-slot"], "controlplane/perf", "slots"));
        let branch = format!("controlplane/perf/{team}");
        let text: String = (0..apps)
            .map(|n| scope(&format!("a{n}"), &["db-password", "api-key", "tls-cert"], &branch, &format!("slots-a{n}")))
            .collect();
        if apps > 0 {
            load(fake, &branch, &text);
        }
    }
    for (team, host) in [("t50", "ns-d:other-d"), ("t500", "ns-a:reader-b")] {
        let grant = format!("- !grant\n  role: !group readers\n  member: !host /apps/system:serviceaccount:{host}\n");
        load(fake, &format!("controlplane/perf/{team}"), &grant);
    }
}

/// Four teams, each with a host that may load into it.
fn siblings(fake: &FakeConjur) {
    load_root(fake, "- !host onb-s1\n- !host onb-s2\n- !host onb-s3\n- !host onb-s4\n");
    load(fake, "controlplane", &scope("sib", &["env-slot"], "controlplane", "slots"));
    for n in 1..=4 {
        sibling(fake, n);
    }
}

fn sibling(fake: &FakeConjur, n: usize) {
    let permit =
        format!("- !permit\n  role: !host /onb-s{n}\n  privileges: [ create, update ]\n  resource: !policy s{n}\n");
    load(fake, "controlplane/sib", &(scope(&format!("s{n}"), &["team-slot"], "controlplane/sib", "slots") + &permit));
}

/// The fourth team anew, with apps in it.
fn fourth(fake: &FakeConjur, apps: &[&str]) {
    fake.admin_patch("controlplane/sib", "- !delete\n  record: !policy s4\n");
    sibling(fake, 4);
    for name in apps {
        load(fake, "controlplane/sib/s4", &app(name, &["password"], "controlplane/sib/s4"));
    }
}
