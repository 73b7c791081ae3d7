//! The real cluster of the suites: `kubectl` as an administrator has it, and service accounts as pods have them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::agent::Options;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::backend::kubernetes::{KubernetesSecrets, KubernetesSettings, ScopeLabels};
use cloakroom_agent::kubernetes::{Address, ApiServer};
use cloakroom_agent::slots::{Catalogue, Generator};
use tempfile::{NamedTempFile, TempDir};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The cluster that `tests/run cluster` has found or booted.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// Where its API server is.
    pub address: Address,
    ca: Vec<u8>,
}

/// Numbers names apart within one run.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// The cluster of this run.
    pub fn get() -> Self {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let kubeconfig = variable("CLOAKROOM_TEST_KUBECONFIG").expect("tests/run cluster names the cluster");
        let kubectl = variable("CLOAKROOM_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut cluster =
            Self { kubectl, kubeconfig, address: Address { host: String::new(), port: 0 }, ca: Vec::new() };
        let field = |path: &str| {
            cluster.kubectl(&["config", "view", "--minify", "--raw", "--flatten", "-o", &format!("jsonpath={path}")])
        };
        let server = field("{.clusters[0].cluster.server}");
        let authority = server.trim().trim_start_matches("https://").trim_end_matches('/').to_owned();
        let (host, port) = authority.rsplit_once(':').unwrap_or((&authority, "443"));
        let ca = STANDARD.decode(field("{.clusters[0].cluster.certificate-authority-data}").trim()).unwrap();
        cluster.address = Address { host: host.to_owned(), port: port.parse().unwrap() };
        cluster.ca = ca;
        cluster
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// Where the administrator's kubeconfig is.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A `PATH` in which `kubectl` is.
    pub fn path(&self) -> String {
        let beside = self.kubectl.parent().map(Path::display).map(|path| path.to_string()).unwrap_or_default();
        format!("{beside}:{}", std::env::var("PATH").unwrap())
    }

    /// Runs `kubectl`, which must succeed, and gives what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `kubectl` with a text on its input; whether it succeeded, and what it said.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Applies YAML.
    pub fn apply(&self, yaml: &str) {
        let (applied, said) = self.try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml);
        assert!(applied, "{said}\n{yaml}");
    }

    /// The cluster, if it was booted for the tests: only such a one takes faults and images, and shows its audit log.
    /// Otherwise says what is left out, for `tests/run` to report.
    pub fn own() -> Option<Self> {
        if std::env::var_os("CLOAKROOM_TEST_CLUSTERCTL").is_some() {
            return Some(Self::get());
        }
        let thread = std::thread::current();
        println!("left out: {}: it needs a cluster that was booted for it", thread.name().unwrap_or_default());
        None
    }

    /// Makes a namespace, unless it is there; one that somebody else has made is not ours to empty.
    pub fn namespace(&self, name: &str) {
        let label = "jsonpath={.metadata.name} {.metadata.labels.cloakroom-tests}";
        let found = self.kubectl(&["get", "namespace", name, "--ignore-not-found", "-o", label]);
        assert!(
            found.is_empty() || found.ends_with(" own"),
            "the cluster has a namespace `{name}` that the tests have not made, and they would empty it: use another cluster"
        );
        self.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{cloakroom-tests: own}}}}\n"
        ));
    }

    /// Deletes every Secret of a namespace, whatever holds it.
    pub fn empty(&self, namespace: &str) {
        for secret in self.kubectl(&["-n", namespace, "get", "secrets", "-o", "name"]).split_whitespace() {
            let free = r#"{"metadata":{"finalizers":null}}"#;
            self.try_kubectl(&["-n", namespace, "patch", secret, "--type=merge", "-p", free], "");
            self.try_kubectl(&["-n", namespace, "delete", "--ignore-not-found", secret], "");
        }
    }

    /// Binds cluster roles to a service account in a namespace.
    pub fn bind(&self, account: &Account, namespace: &str, roles: &[&str]) {
        let name = &account.name;
        for role in roles {
            self.apply(&format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}-{role}, \
                 namespace: {namespace}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, \
                 name: {role}}}\nsubjects: [{{kind: ServiceAccount, name: {name}, namespace: {}}}]\n",
                account.namespace
            ));
        }
    }

    /// A service account of its own, with the files that the kubelet would give its pod.
    pub fn account(&self, namespace: &str) -> Account {
        let name = format!("agent-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        ));
        self.account_of(namespace, &name)
    }

    /// A service account that is there, with those files.
    pub fn account_of(&self, namespace: &str, name: &str) -> Account {
        let token = self.kubectl(&["-n", namespace, "create", "token", name]);
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("token"), token.trim()).unwrap();
        std::fs::write(directory.path().join("ca.crt"), &self.ca).unwrap();
        Account { name: name.to_owned(), namespace: namespace.to_owned(), directory: Arc::new(directory) }
    }

    /// The options of an agent that runs as a pod of `account` would, with everything from Kubernetes.
    pub fn agent_options(&self, account: &Account) -> Options {
        let directory = account.directory.path().display();
        Options {
            sources: Some(format!(
                "backend: {{kind: kubernetes}}\nidentity: {{kind: pod, tokenDir: {directory}}}\n\
                 permissions: {{kind: kubernetes}}"
            )),
            environment: vec![
                ("KUBERNETES_SERVICE_HOST".to_owned(), self.address.host.clone()),
                ("KUBERNETES_SERVICE_PORT".to_owned(), self.address.port.to_string()),
            ],
            ..Options::default()
        }
    }

    /// Runs a command of the harness, such as `fault block`; none where the cluster is somebody else's.
    pub fn control(&self, arguments: &[&str]) {
        let control = std::env::var_os("CLOAKROOM_TEST_CLUSTERCTL").expect("only a cluster of our own takes faults");
        let output = Command::new(control).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The API server's audit log so far, one event a line.
    pub fn audit_log(&self) -> Vec<serde_json::Value> {
        let path = std::env::var_os("CLOAKROOM_TEST_AUDIT_LOG").expect("only a cluster of our own shows its audit log");
        let text = std::fs::read_to_string(path).unwrap();
        // The last line may be half-written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The authorities that the API server's certificate may come from now.
    pub fn ca(&self) -> String {
        String::from_utf8(Self::get().ca).unwrap()
    }

    /// The API server as a pod of `account` has it.
    pub fn api(&self, account: &Account) -> ApiServer {
        ApiServer::new(&self.address, account.directory.path()).unwrap()
    }
}

/// Lines of a manifest, further to the right.
pub fn indented(text: &str, by: usize) -> String {
    let mut lines = String::new();
    for line in text.trim_end().lines() {
        lines += &" ".repeat(by);
        lines += line;
        lines.push('\n');
    }
    lines
}

/// A service account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `token` and `ca.crt`.
    pub directory: Arc<TempDir>,
}

impl Account {
    /// A kubeconfig as a person with this account has it.
    pub fn kubeconfig(&self, cluster: &Cluster) -> NamedTempFile {
        let (host, port) = (&cluster.address.host, cluster.address.port);
        let directory = self.directory.path().display();
        let mut file = NamedTempFile::new().unwrap();
        write!(
            file,
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}],\n\
             clusters: [{{name: c, cluster: {{server: 'https://{host}:{port}', certificate-authority: {directory}/ca.crt}}}}],\n\
             users: [{{name: u, user: {{tokenFile: {directory}/token}}}}]}}\n"
        )
        .unwrap();
        file
    }
}

/// The settings of the documents.
pub fn settings() -> KubernetesSettings {
    let label = |name: &str| format!("cp.ei.telekom.de/{name}");
    KubernetesSettings {
        scope_labels: ScopeLabels {
            environment: label("environment"),
            team: label("team"),
            application: label("application"),
        },
        fixed_labels: [("app.kubernetes.io/managed-by".to_owned(), "secret-manager".to_owned())].into(),
        finalizer: "secret-manager/finalizer".to_owned(),
        create_namespaces: false,
        slot_bytes_max: 1 << 20,
        keyed: true,
        believed: Duration::from_mins(5),
        watches_max: 100,
        kept_bytes_max: 8 << 20,
        call: Duration::from_secs(5),
        write: Duration::from_millis(4500),
    }
}

/// One agent's backend. Its watches end with it.
pub struct AgentBackend {
    /// The backend.
    pub backend: Arc<KubernetesSecrets>,
    stop: CancellationToken,
}

impl AgentBackend {
    /// As an agent with these credentials has it.
    pub fn new(api: ApiServer, settings: KubernetesSettings) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let catalogue = Arc::new(Catalogue::default());
        let backend = KubernetesSecrets::new(api, settings, catalogue, Generator::default(), tasks, stop.clone());
        Self { backend: Arc::new(backend), stop }
    }
}

impl Drop for AgentBackend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
