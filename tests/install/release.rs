//! One release of the chart on the node, and the scope that its pods resolve.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cloakroom_tests::agent::eventually;
use cloakroom_tests::cluster::Cluster;

/// The release and its namespace, as the README says.
pub(crate) const RELEASE: &str = "cloakroom";

/// Where pods of the cases live.
pub(crate) const TEAM: &str = "team-a";

/// The namespace of the scope `poc/eni--hyperion/my-app`.
pub(crate) const SCOPE: &str = "poc--eni--hyperion";

/// The account of the examples.
pub(crate) const ACCOUNT: &str = "my-app";

/// What the application's `clientSecret` is.
pub(crate) const VALUE: &str = "handed-in-by-the-rover";

/// How long a pod may take on a machine that others use.
pub(crate) const START: Duration = Duration::from_secs(90);

/// The chart's own number of injectors.
const REPLICAS: usize = 2;

/// The chart on the cluster.
pub(crate) struct Release {
    /// Where it is.
    pub(crate) cluster: Cluster,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The file of an example.
pub(crate) fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("charts/examples").join(name)).unwrap()
}

impl Release {
    /// Installed with the chart's own values. None where the node is somebody else's.
    pub(crate) fn installed() -> Option<Self> {
        Self::with(&[])
    }

    /// Installed, or upgraded to these values: `--set` and its like.
    pub(crate) fn with(values: &[&str]) -> Option<Self> {
        let release = Self { cluster: Cluster::own()? };
        for namespace in [RELEASE, TEAM, SCOPE, "poc"] {
            release.cluster.namespace(namespace);
        }
        release.upgrade(values);
        release.prepare();
        Some(release)
    }

    /// `helm`, which must succeed.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let (done, said) = self.try_helm(arguments);
        assert!(done, "helm {arguments:?}: {said}");
        said
    }

    /// `helm`; whether it succeeded, and what it said.
    pub(crate) fn try_helm(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.helm_command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// `helm`, to be started.
    pub(crate) fn helm_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("HELM").expect("tests/run cluster says where helm is"));
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(["--namespace", RELEASE]).args(arguments);
        command
    }

    /// The arguments of an upgrade to these values that waits until it is rolled out.
    pub(crate) fn upgrade_arguments<'a>(values: &[&'a str]) -> Vec<&'a str> {
        // Not a constant: the path is of this checkout, and is needed for as long as the process lives.
        let chart: &'static str = Box::leak(repository().join("charts/cloakroom").display().to_string().into());
        let mut arguments =
            vec!["upgrade", "--install", RELEASE, chart, "--reset-values", "--wait", "--timeout", "120s"];
        arguments.extend(values);
        arguments
    }

    /// Upgrades, and waits until it is rolled out: a replica of before answers until it has ended.
    pub(crate) fn upgrade(&self, values: &[&str]) {
        self.helm(&Self::upgrade_arguments(values));
        self.settled();
    }

    /// Waits until there are no injectors but those that stay.
    pub(crate) fn settled(&self) {
        eventually(START, "what was replaced has ended", || self.injectors().len() == REPLICAS);
    }

    /// The account of the examples, the right to resolve, and the application's Secret.
    fn prepare(&self) {
        self.cluster.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {ACCOUNT}, namespace: {TEAM}}}\n"
        ));
        for role in ["cloakroom-reader", "cloakroom-backend-reader"] {
            self.bind(ACCOUNT, role);
        }
        self.cluster.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: my-app, namespace: {SCOPE}}}\n\
             stringData: {{clientSecret: {VALUE}}}\n"
        ));
    }

    /// Binds a role in the scope's namespace to an account of the pods' namespace.
    pub(crate) fn bind(&self, account: &str, role: &str) {
        self.cluster.apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
             metadata: {{name: {account}-{role}, namespace: {SCOPE}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
             subjects: [{{kind: ServiceAccount, name: {account}, namespace: {TEAM}}}]\n"
        ));
    }

    /// Waits for a condition of an object.
    pub(crate) fn wait(&self, namespace: &str, object: &str, condition: &str) {
        let timeout = format!("--timeout={}s", START.as_secs());
        let condition = format!("--for={condition}");
        let (met, said) = self.cluster.try_kubectl(&["-n", namespace, "wait", &condition, &timeout, object], "");
        if !met {
            let shown = self.cluster.try_kubectl(&["-n", namespace, "describe", object], "").1;
            panic!("{object} {condition}: {said}\n{shown}");
        }
    }

    /// Deletes what a case has made, and waits until it is gone.
    pub(crate) fn delete(&self, namespace: &str, objects: &[&str]) {
        let mut arguments = vec!["-n", namespace, "delete", "--ignore-not-found", "--timeout=60s"];
        arguments.extend(objects);
        self.cluster.kubectl(&arguments);
    }

    /// The names of the injector's pods, also of those that end.
    pub(crate) fn injectors(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/component=injector";
        let path = "jsonpath={.items[*].metadata.name}";
        let said = self.cluster.kubectl(&["-n", RELEASE, "get", "pods", "-l", selector, "-o", path]);
        said.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until a pod that asks is taken, which needs an injector that answers.
    pub(crate) fn answers(&self, within: Duration) {
        eventually(within, "a pod that asks is taken", || self.try_create("asks-again").0);
    }

    /// Whether a pod that asks is taken (for the looks of it), and what the API server says.
    pub(crate) fn try_create(&self, name: &str) -> (bool, String) {
        let pod = super::pods::Pod::new(name).yaml();
        self.cluster.try_kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &pod)
    }
}
