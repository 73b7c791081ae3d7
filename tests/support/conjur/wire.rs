//! Answers as they go over the wire: whole, slow, cut off, or something else altogether.

use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use super::answer::Answer;
use super::fault::Fault;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

const PIECE: usize = 64 * 1024;

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn head(answer: &Answer) -> http::response::Builder {
    let mut head = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        head = head.header(*name, value);
    }
    if answer.refused {
        // As the real one does before it hangs up.
        head = head.version(Version::HTTP_10).header("Connection", "close");
    }
    head
}

pub(super) fn whole(answer: Answer) -> Response<Body> {
    let head = head(&answer);
    head.body(full(answer.body)).unwrap()
}

/// The answer drop by drop, with enough spaces behind it that it takes its time.
pub(super) fn slow(answer: &Answer, rate: u64) -> Response<Body> {
    let head = head(answer);
    let mut body = answer.body.to_vec();
    body.resize(body.len().max(4096), b' ');
    let length = body.len();
    let step = usize::try_from(rate.div_ceil(10)).unwrap().max(1);
    let pause = Duration::from_secs(step as u64) / u32::try_from(rate.max(1)).unwrap();
    let pieces = stream::unfold(Bytes::from(body), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(step.min(rest.len()));
        Some((Ok::<_, io::Error>(Frame::data(piece)), rest))
    });
    head.header("Content-Length", length).body(StreamBody::new(pieces).boxed_unsync()).unwrap()
}

/// Half of the answer, announced as more than the whole, and then the end of the connection.
pub(super) fn truncated(answer: &Answer) -> Response<Body> {
    let head = head(answer);
    let length = answer.body.len().max(64);
    let half = answer.body.slice(..answer.body.len() / 2);
    // What there is has to leave first: an end at once would be the end of an answer that never began.
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::ErrorKind::UnexpectedEof.into())
    });
    let pieces = stream::once(std::future::ready(Ok(Frame::data(half)))).chain(end);
    head.header("Content-Length", length).body(StreamBody::new(pieces).boxed_unsync()).unwrap()
}

/// What a fault answers without asking what the call was about.
pub(super) fn instead(fault: &Fault) -> Option<Response<Body>> {
    let head = Response::builder();
    let answer = match fault {
        Fault::Status { code, content_type, headers, body } => {
            let mut head = head.status(*code);
            if let Some(kind) = content_type {
                head = head.header("Content-Type", kind);
            }
            for (name, value) in headers {
                head = head.header(name, value);
            }
            head.body(full(body.clone().into()))
        }
        Fault::Html => {
            let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";
            head.header("Content-Type", "text/html; charset=utf-8").body(full(Bytes::from_static(page.as_bytes())))
        }
        Fault::GzipBomb => {
            let head =
                head.header("Content-Type", "application/json; charset=utf-8").header("Content-Encoding", "gzip");
            head.body(full(bomb()))
        }
        Fault::Redirect(to) => head.status(302).header("Location", to).body(full(Bytes::new())),
        Fault::Huge { bytes, declared } => {
            let head = head.header("Content-Type", "application/octet-stream");
            let head = if *declared { head.header("Content-Length", *bytes) } else { head };
            head.body(huge(*bytes))
        }
        _ => return None,
    };
    Some(answer.unwrap())
}

fn huge(bytes: u64) -> Body {
    let piece = Bytes::from(vec![b'a'; PIECE]);
    let pieces = stream::unfold(bytes, move |left| {
        let piece = piece.clone();
        async move {
            let now = left.min(PIECE as u64);
            (now > 0)
                .then(|| (Ok::<_, io::Error>(Frame::data(piece.slice(..usize::try_from(now).unwrap()))), left - now))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A quarter of a gigabyte of spaces, packed once.
fn bomb() -> Bytes {
    static PACKED: OnceLock<Bytes> = OnceLock::new();
    let pack = || {
        let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let spaces = vec![b' '; 1 << 20];
        (0..256).for_each(|_| packing.write_all(&spaces).unwrap());
        Bytes::from(packing.finish().unwrap())
    };
    PACKED.get_or_init(pack).clone()
}
