//! The client side of the socket: one command, one connection, one deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client as HttpClient;
use hyperlocal::{UnixClientExt as _, UnixConnector};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::{CliError, Refusal};

/// The socket of an agent that a service manager or an injected pod runs.
const SYSTEM_SOCKET: &str = "/run/cloakroom/agent/agent.sock";

/// From the connection attempt to the last byte. The agent gives up on a request sooner than this.
const DEADLINE: Duration = Duration::from_secs(30);

/// More than any answer has: a document can be allowed to have 64 MiB.
const ANSWER_BYTES: usize = 65 << 20;

const JSON: &str = "application/json";

/// An agent to ask.
pub(super) struct Client {
    socket: PathBuf,
    deadline: Duration,
    /// Whether the answer is wanted as the API gives it.
    pub(super) json: bool,
}

/// A success, as JSON text; empty where the API answers without content. Wiped, because most hold values.
pub(super) struct Answer(Zeroizing<Vec<u8>>);

#[derive(serde::Deserialize)]
struct Problem {
    detail: String,
    code: Option<String>,
    position: Option<u64>,
    instance: Option<String>,
}

impl Client {
    /// Finds the socket: the option, the environment, then the first known place that exists.
    pub(super) fn new(option: Option<PathBuf>, environment: &Environment, json: bool) -> Result<Self, CliError> {
        let socket = match option.or_else(|| environment.path("CLOAKROOM_SOCKET")) {
            Some(socket) => socket,
            None => known_socket(environment)?,
        };
        Ok(Self { socket, deadline: DEADLINE, json })
    }

    /// The same agent, asked for at most `deadline`.
    pub(super) fn within(&self, deadline: Duration) -> Self {
        Self { socket: self.socket.clone(), deadline, json: self.json }
    }

    /// One call, in a runtime of its own.
    pub(super) fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, CliError> {
        runtime()?.block_on(self.ask(method, path, body))
    }

    /// One call with a document of type `media`, which is answered as the same.
    pub(super) fn send(&self, path: &str, media: &'static str, body: Bytes) -> Result<Answer, CliError> {
        self.document(path, (media, media), body)
    }

    /// One call about a document: what is sent, and what is to come back.
    pub(super) fn document(
        &self,
        path: &str,
        (sent, wanted): (&'static str, &'static str),
        body: Bytes,
    ) -> Result<Answer, CliError> {
        let exchange = async {
            let answer = self.begin(Method::POST, path, Some((sent, body)), wanted).await?;
            Ok(Answer(collect(answer.into_body()).await?))
        };
        runtime()?.block_on(self.in_time(exchange))
    }

    /// One call: a success's body, or the reason why there is none.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, CliError> {
        self.in_time(async {
            let answer = self.begin(method, path, body.map(|body| (JSON, body)), JSON).await?;
            Ok(Answer(collect(answer.into_body()).await?))
        })
        .await
    }

    /// The head of a success, whose body is still to come and may be without end.
    pub(super) async fn open(&self, path: &str, wanted: &'static str) -> Result<Incoming, CliError> {
        let answer = self.in_time(self.begin(Method::GET, path, None, wanted)).await?;
        Ok(answer.into_body())
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        wanted: &'static str,
    ) -> Result<Response<Incoming>, CliError> {
        let client: HttpClient<UnixConnector, Full<Bytes>> = HttpClient::unix();
        let uri = hyperlocal::Uri::new(&self.socket, path).into();
        let answer = client.request(request(method, uri, body, wanted)).await.map_err(|error| self.failure(error))?;
        let (status, id) = (answer.status(), request_id(&answer));
        if status.is_success() {
            return Ok(answer);
        }
        Err(refusal(status, id, &collect(answer.into_body()).await?))
    }

    async fn in_time<T>(&self, exchange: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        tokio::time::timeout(self.deadline, exchange).await.map_err(|_| CliError::NoAnswer)?
    }

    /// Tells "nobody is there" from "somebody was": only the first has a cause that the user can mend.
    fn failure(&self, error: hyper_util::client::legacy::Error) -> CliError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(reason) = cause {
            if let Some(source) = reason.downcast_ref::<std::io::Error>().filter(|_| error.is_connect()) {
                return CliError::Connect { socket: self.socket.clone(), source: source.kind().into() };
            }
            cause = reason.source();
        }
        CliError::Broken(error.into())
    }
}

impl Answer {
    /// The JSON text as it came.
    pub(super) fn text(&self) -> &[u8] {
        &self.0
    }

    /// The answer's members.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        // serde's own error would quote the answer, and so a value.
        serde_json::from_slice(&self.0).map_err(|_| CliError::Unexpected)
    }
}

/// Everything that a command awaits runs on the thread that started it.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Reads of the store that are not in memory; more at once would only wait for the same disk.
        .max_blocking_threads(4)
        .build()
        .map_err(CliError::Runtime)
}

/// One segment of a path. Everything is escaped, so that a `/` in an id stays inside its segment.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn known_socket(environment: &Environment) -> Result<PathBuf, CliError> {
    let system = PathBuf::from(SYSTEM_SOCKET);
    let development = environment.dev_socket(environment.dev_state());
    let known = [Some(system), development];
    let known: Vec<PathBuf> = known.into_iter().flatten().collect();
    if let Some(socket) = known.iter().find(|socket| socket.exists()) {
        return Ok(socket.clone());
    }
    let tried: Vec<String> = known.iter().map(|socket: &PathBuf| Path::display(socket).to_string()).collect();
    Err(CliError::NoSocket { tried: tried.join(" or ") })
}

fn request(
    method: Method,
    uri: http::Uri,
    body: Option<(&'static str, Bytes)>,
    wanted: &'static str,
) -> Request<Full<Bytes>> {
    let (sent, body) = body.unzip();
    let mut request = Request::new(Full::new(body.unwrap_or_default()));
    *request.method_mut() = method;
    // The URI's authority is the socket's path in hexadecimal digits, which is nobody's Host.
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    for accepted in [wanted, "application/problem+json"] {
        headers.append(header::ACCEPT, HeaderValue::from_static(accepted));
    }
    if let Some(sent) = sent {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sent));
    }
    request
}

async fn collect(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > ANSWER_BYTES {
        return Err(CliError::Oversized);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| CliError::Broken(error.into()))?.into_data() else { continue };
        if text.len() + data.len() > ANSWER_BYTES {
            return Err(CliError::Oversized);
        }
        super::source::append(&mut text, &data);
    }
    Ok(text)
}

fn request_id(answer: &Response<Incoming>) -> Option<String> {
    Some(answer.headers().get("x-request-id")?.to_str().ok()?.to_owned())
}

fn refusal(status: StatusCode, request: Option<String>, text: &[u8]) -> CliError {
    let problem = serde_json::from_slice::<Problem>(text).ok();
    let (detail, code, position, instance) = match problem {
        Some(problem) => (Some(problem.detail), problem.code, problem.position, problem.instance),
        None => (None, None, None, None),
    };
    CliError::Refused(Refusal { status, detail, code, position, request: instance.or(request) })
}
