//! A double of the API server, for what a real one does only when it fails: Secrets with versions, uids and finalizers,
//! reviews, watches, and an answer of the test's own to any request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloakroom_agent::kubernetes::{Address, ApiServer};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::https::{Ending, Https};

/// The name in its certificate.
const NAME: &str = "kubernetes.default.svc";

/// What is answered in place of what the double would do; none leaves it to the double.
pub type Script = Box<dyn FnMut(&Seen, &mut Stored) -> Option<Response<Bytes>> + Send>;

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// Its `Authorization`.
    pub authorization: String,
    /// Its body; null where there is none.
    pub body: Value,
}

impl Seen {
    /// Whether it begins a watch.
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    /// Whether it gets one object.
    pub fn is_get(&self) -> bool {
        self.method == Method::GET && !self.is_watch() && self.path.contains("/secrets/")
    }
}

/// The objects, by path, and the version of the last write.
#[derive(Default)]
pub struct Stored {
    /// Secrets by path.
    pub objects: BTreeMap<String, Value>,
    version: u64,
}

impl Stored {
    /// A version later than all before it.
    pub fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// Stores a Secret at `path` as somebody else does, with a uid of its own.
    pub fn put(&mut self, path: &str, metadata: &Value, data: &[(&str, &str)]) -> Value {
        let version = self.next_version();
        let mut object = json!({"metadata": {"uid": format!("uid-{version}"), "resourceVersion": version}});
        merge(&mut object["metadata"], metadata);
        for (slot, value) in data {
            object["data"][*slot] = STANDARD.encode(value).into();
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// Does what `request` asks for, as a real server does.
    pub fn act(&mut self, request: &Seen) -> Response<Bytes> {
        let Some(now) = self.objects.get(&request.path).cloned() else {
            if request.method != Method::POST {
                return answer(404, &json!({"kind": "Status"}));
            }
            let path = format!("{}/{}", request.path, request.body["metadata"]["name"].as_str().unwrap());
            if self.objects.contains_key(&path) {
                return answer(409, &json!({"kind": "Status"}));
            }
            let mut made = self.put(&path, &request.body["metadata"], &[]);
            made["data"] = request.body["data"].clone();
            self.objects.insert(path, made.clone());
            return answer(201, &made);
        };
        let expected =
            if request.method == Method::PATCH { &request.body["metadata"] } else { &request.body["preconditions"] };
        let differs = |member: &str| expected.get(member).is_some_and(|wanted| *wanted != now["metadata"][member]);
        if differs("uid") || differs("resourceVersion") {
            return answer(409, &json!({"kind": "Status"}));
        }
        let held = now["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
        let mut object = now;
        match request.method {
            Method::PATCH => merge(&mut object, &request.body),
            Method::DELETE if held => object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
            Method::DELETE => {
                self.objects.remove(&request.path);
                return answer(200, &json!({"kind": "Status", "status": "Success"}));
            }
            _ => return answer(200, &object),
        }
        object["metadata"]["resourceVersion"] = self.next_version().into();
        let released = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if released && object["metadata"].get("deletionTimestamp").is_some() {
            self.objects.remove(&request.path);
        } else {
            self.objects.insert(request.path.clone(), object.clone());
        }
        answer(200, &object)
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// An answer in JSON.
pub fn answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).header("Content-Type", "application/json").body(body.to_string().into()).unwrap()
}

/// A watch that tells of `events` and goes on.
pub fn watch(events: &[(&str, &Value)]) -> Response<Bytes> {
    let lines = events.iter().map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})));
    Response::builder().extension(Ending::Open).body(lines.collect::<String>().into()).unwrap()
}

/// A watch that tells of `events` and ends.
pub fn watch_that_ends(events: &[(&str, &Value)]) -> Response<Bytes> {
    let mut response = watch(events);
    response.extensions_mut().clear();
    response
}

/// No answer.
pub fn cut() -> Response<Bytes> {
    Response::builder().extension(Ending::Cut).body(Bytes::new()).unwrap()
}

/// The double; it ends when it is dropped.
pub struct FakeKubernetes {
    server: Https,
    directory: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    state: Arc<Mutex<(Stored, Script)>>,
}

impl FakeKubernetes {
    /// One that does what a real server does with Secrets, watches that tell nothing, and allows everything.
    pub async fn start() -> Self {
        Self::named(NAME).await
    }

    /// One whose certificate is for `name`, and for its address.
    pub async fn named(name: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let state = Arc::new(Mutex::new((Stored::default(), Box::new(|_: &Seen, _: &mut Stored| None) as Script)));
        let (log, shared) = (Arc::clone(&seen), Arc::clone(&state));
        let answer = Box::new(move |request: &Request<Bytes>| {
            let request = see(request);
            log.lock().unwrap().push(request.clone());
            let (stored, script) = &mut *shared.lock().unwrap();
            script(&request, stored).unwrap_or_else(|| by_itself(&request, stored))
        });
        let server = Https::serve(IpAddr::V4(Ipv4Addr::LOCALHOST), name, answer).await;
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("token"), "first").unwrap();
        std::fs::write(directory.path().join("ca.crt"), &server.ca).unwrap();
        Self { server, directory, seen, state }
    }

    /// The server as an agent has it, with connections of its own.
    pub fn api(&self) -> ApiServer {
        self.api_at(&self.server.address.ip().to_string(), self.server.address.port())
    }

    /// The same credentials for a server elsewhere.
    pub fn api_at(&self, host: &str, port: u16) -> ApiServer {
        ApiServer::new(&Address { host: host.to_owned(), port }, self.directory.path()).unwrap()
    }

    /// Where the token and the bundle are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Replaces a file beside the token, as the kubelet does.
    pub fn replace(&self, name: &str, content: &str) {
        let directory = self.directory.path();
        std::fs::write(directory.join("new"), content).unwrap();
        std::fs::rename(directory.join("new"), directory.join(name)).unwrap();
    }

    /// What is answered from now on.
    pub fn script(&self, script: impl FnMut(&Seen, &mut Stored) -> Option<Response<Bytes>> + Send + 'static) {
        self.state().1 = Box::new(script);
    }

    /// Looks at the objects, or changes them as somebody else does.
    pub fn stored<T>(&self, look: impl FnOnce(&mut Stored) -> T) -> T {
        look(&mut self.state().0)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many of the requests so far are such.
    pub fn count(&self, such: impl Fn(&Seen) -> bool) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| such(seen)).count()
    }

    fn state(&self) -> MutexGuard<'_, (Stored, Script)> {
        self.state.lock().unwrap()
    }
}

fn see(request: &Request<Bytes>) -> Seen {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap());
    Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: text(request.uri().query()),
        authorization: text(authorization),
        body: serde_json::from_slice(request.body()).unwrap_or_default(),
    }
}

fn by_itself(request: &Seen, stored: &mut Stored) -> Response<Bytes> {
    match request.path.as_str() {
        "/version" => answer(200, &json!({"major": "1", "minor": "30+"})),
        path if path.ends_with("/selfsubjectreviews") => answer(201, &who("system:serviceaccount:poc:agent", "pod-1")),
        path if path.ends_with("/selfsubjectaccessreviews") => answer(201, &json!({"status": {"allowed": true}})),
        _ if request.is_watch() => watch(&[]),
        path if path.contains("/secrets") => stored.act(request),
        _ => answer(StatusCode::NOT_FOUND.as_u16(), &json!({})),
    }
}

/// A `SelfSubjectReview` that says that we are `user`, in `pod`.
pub fn who(user: &str, pod: &str) -> Value {
    let extra = json!({"authentication.kubernetes.io/pod-name": [pod]});
    json!({"status": {"userInfo": {"username": user, "extra": extra}}})
}
