//! Audit in process: formats, sharing of writes, and sinks that fail in scripted ways.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use proptest::prelude::*;

use super::line::Stamp;
use super::sink::Device;
use super::*;
use crate::access::Subject;
use crate::id::{Location, SecretId};
use crate::peer::Peer;
use crate::request_id::RequestIds;

fn location(text: &str) -> Location {
    SecretId::parse(text).unwrap().into_parts().0
}

fn caller(subject: &Subject) -> AuditCaller {
    AuditCaller::new(Some(subject), None, Peer { uid: 1000, gid: 1000, pid: Some(42) })
}

fn record<'a>(
    request: crate::request_id::RequestId,
    secrets: &'a [&'a Location],
    caller: &'a AuditCaller,
) -> Record<'a> {
    Record {
        request,
        phase: Phase::Served,
        operation: Operation::Get,
        caller,
        secrets,
        scope: None,
        decision: AuditDecision::Allow,
        reason: Reason::Granted,
        result: Some(AuditResult::Ok),
        source: Some(AuditSource::Cache),
        fingerprint: None,
        duration: Some(Duration::from_micros(17)),
    }
}

/// What one `write(2)` is to do: take so many bytes, or fail. Afterwards it takes all.
type Script = VecDeque<Result<usize, Errno>>;

/// Two files under one name, of which the second appears with a rotation.
#[derive(Clone)]
struct Scripted {
    log: Arc<Mutex<Log>>,
    file: u64,
    prompt: bool,
}

#[derive(Default)]
struct Log {
    script: Script,
    files: [Vec<u8>; 2],
    writes: usize,
}

impl Scripted {
    fn new(prompt: bool, script: impl IntoIterator<Item = Result<usize, Errno>>) -> Self {
        let log = Log { script: script.into_iter().collect(), ..Log::default() };
        Self { log: Arc::new(Mutex::new(log)), file: 0, prompt }
    }

    fn content(&self, file: usize) -> String {
        String::from_utf8(self.log.lock().unwrap_or_else(PoisonError::into_inner).files[file].clone()).unwrap()
    }
}

impl Device for Scripted {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.writes += 1;
        let taken = log.script.pop_front().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
        log.files[usize::try_from(self.file).unwrap()].extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn prompt(&self) -> bool {
        self.prompt
    }

    fn wait(&self, _at_most: Duration) {}

    fn reopen(&self) -> Option<Result<Box<dyn Device>, AuditOpenError>> {
        Some(Ok(Box::new(Self { file: 1, ..self.clone() })))
    }

    fn identity(&self) -> (u64, u64) {
        (0, self.file)
    }

    fn ends_torn(&self) -> bool {
        false
    }
}

fn audit(device: &Scripted, timeout: Duration, queue_bytes: usize) -> (Audit, AuditMetrics) {
    let metrics = AuditMetrics::default();
    let queue = Arc::new(Queue::new(Box::new(device.clone()), timeout, queue_bytes, metrics.clone()));
    writer::start(&queue).unwrap();
    (Audit { inner: Arc::new(Inner { queue, key: key(None).unwrap() }) }, metrics)
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

async fn together(audit: &Audit, count: usize) -> Vec<Result<(), AuditUnavailable>> {
    let set = tokio::task::LocalSet::new();
    let ids = Arc::new(RequestIds::new().unwrap());
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (audit, ids) = (audit.clone(), Arc::clone(&ids));
            set.spawn_local(async move {
                let (secret, subject) = (location("poc:team:app:clientSecret:"), Subject::from_uid(1000).unwrap());
                audit.record(&record(ids.next(), &[&secret], &caller(&subject))).await
            })
        })
        .collect();
    set.run_until(async {
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        results
    })
    .await
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn sixteen_requests_of_one_tick_share_one_write() {
    let device = Scripted::new(true, []);
    let (audit, metrics) = audit(&device, LONG, 1 << 20);
    for _ in 0..10 {
        assert_eq!(together(&audit, 16).await, vec![Ok(()); 16]);
    }
    assert_eq!(metrics.writes(), 10);
    assert_eq!(metrics.records(Phase::Served), 160);
    assert_eq!(lines(&device.content(0)).len(), 160);
}

#[tokio::test]
async fn the_writer_thread_takes_what_arrives_together() {
    let device = Scripted::new(false, []);
    let (audit, metrics) = audit(&device, LONG, 1 << 20);
    assert_eq!(together(&audit, 16).await, vec![Ok(()); 16]);
    assert_eq!(lines(&device.content(0)).len(), 16);
    assert!(metrics.writes() <= 2, "{} writes", metrics.writes());
}

#[tokio::test]
async fn n6_a_line_that_the_disk_cut_short_is_completed_when_there_is_room() {
    for prompt in [true, false] {
        let device = Scripted::new(prompt, [Ok(10), Err(Errno::ENOSPC), Err(Errno::EINTR), Ok(1), Err(Errno::EIO)]);
        let (audit, metrics) = audit(&device, LONG, 1 << 20);
        assert_eq!(together(&audit, 3).await, vec![Ok(()); 3]);
        assert_eq!(lines(&device.content(0)).len(), 3);
        assert_eq!((metrics.records(Phase::Served), metrics.failures()), (3, 0));
    }
}

#[tokio::test]
async fn n6_a_sink_that_never_takes_a_line_refuses_and_later_recovers() {
    for prompt in [true, false] {
        let device = Scripted::new(prompt, vec![Err(Errno::ENOSPC); 10_000]);
        let (audit, metrics) = audit(&device, Duration::from_millis(30), 1 << 20);
        assert_eq!(together(&audit, 4).await, vec![Err(AuditUnavailable); 4]);
        assert_eq!((metrics.records(Phase::Served), metrics.failures()), (0, 4));
        device.log.lock().unwrap().script.clear();
        let mut tries = 0;
        let deadline = tokio::time::Instant::now() + LONG;
        while together(&audit, 1).await != [Ok(())] {
            tries += 1;
            assert!(tokio::time::Instant::now() < deadline, "the sink takes lines again and nobody notices");
        }
        // Those that nobody waits for any more are written as well, in their order.
        assert_eq!(lines(&device.content(0)).len(), 5 + tries);
    }
}

#[tokio::test]
async fn n6_a_full_buffer_refuses_at_once() {
    let device = Scripted::new(true, vec![Err(Errno::ENOSPC); 10_000]);
    let (audit, metrics) = audit(&device, Duration::from_millis(10), 1000);
    assert_eq!(together(&audit, 200).await, vec![Err(AuditUnavailable); 200]);
    assert_eq!(metrics.failures(), 200);
    device.log.lock().unwrap().script.clear();
    let deadline = tokio::time::Instant::now() + LONG;
    while together(&audit, 1).await != [Ok(())] {
        assert!(tokio::time::Instant::now() < deadline, "a full buffer must drain when the sink recovers");
    }
    assert!(lines(&device.content(0)).len() < 10, "the buffer held more than its cap");
}

#[tokio::test]
async fn a_line_cut_short_before_a_rotation_is_whole_in_the_new_file() {
    for prompt in [true, false] {
        let device = Scripted::new(prompt, [Ok(700), Err(Errno::ENOSPC)]);
        let (audit, _) = audit(&device, LONG, 1 << 20);
        let rotate = async {
            // The second write is the one that fails; only then is a line half written.
            while device.log.lock().unwrap().writes < 2 {
                tokio::task::yield_now().await;
            }
            audit.reopen();
        };
        let (results, ()) = tokio::join!(together(&audit, 5), rotate);
        assert_eq!(results, vec![Ok(()); 5]);
        let old = device.content(0);
        let (whole, torn): (Vec<_>, Vec<_>) =
            old.lines().partition(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
        assert!(old.ends_with('\n'));
        let new = lines(&device.content(1));
        assert_eq!(whole.len() + new.len(), 5, "old: {old}");
        assert!(torn.len() <= 1);
    }
}

#[tokio::test]
async fn requests_that_go_away_neither_lose_their_line_nor_hold_up_others() {
    for prompt in [true, false] {
        let device = Scripted::new(prompt, []);
        let (audit, _) = audit(&device, LONG, 1 << 20);
        let (secret, subject, ids) =
            (location("poc:team:app:clientSecret:"), Subject::from_uid(1000).unwrap(), RequestIds::new().unwrap());
        let secrets = [&secret];
        drop(audit.record(&record(ids.next(), &secrets, &caller(&subject))));
        let mut polled = Box::pin(audit.record(&record(ids.next(), &secrets, &caller(&subject))));
        for _ in 0..2 {
            tokio::select! {
                biased;
                result = &mut polled => assert_eq!(result, Ok(())),
                () = std::future::ready(()) => {}
            }
        }
        drop(polled);
        assert_eq!(audit.record(&record(ids.next(), &secrets, &caller(&subject))).await, Ok(()));
        assert_eq!(lines(&device.content(0)).len(), 3);
    }
}

#[test]
fn fingerprints_tell_values_apart_and_depend_on_the_key() {
    let open = |key: &[u8]| {
        let sink = SinkTarget::File("/dev/null".into());
        let settings = AuditSettings { hmac_key: Some(Zeroizing::new(key.to_vec())), ..AuditSettings::new(sink) };
        Audit::open(settings, AuditMetrics::default())
    };
    let (one, two) = (open(b"0123456789abcdef").unwrap(), open(b"0123456789abcdeX").unwrap());
    let value = |text: &str| SecretValue::new(text.to_owned());
    // HMAC-SHA-256("0123456789abcdef", "value"), worked out with another implementation.
    insta::assert_debug_snapshot!(one.fingerprint(&value("value")), @"b14c4f9b6250524c8d3bad08ce67bfff");
    assert_eq!(one.fingerprint(&value("value")), one.clone().fingerprint(&value("value")));
    assert_ne!(one.fingerprint(&value("value")), one.fingerprint(&value("Value")));
    assert_ne!(one.fingerprint(&value("value")), two.fingerprint(&value("value")));
    assert!(matches!(open(b"short"), Err(AuditOpenError::WeakKey)));
}

#[test]
fn time_stamps_are_utc_with_six_digits_also_before_1970() {
    let stamp = |text: &str| {
        let (mut line, mut stamp) = (Vec::new(), Stamp::default());
        let now: Timestamp = text.parse().unwrap();
        let secret = location("poc::::".replace("::::", ":::zones:").as_str());
        let subject = Subject::from_uid(1).unwrap();
        line::push(
            &mut line,
            &mut stamp,
            now,
            &record(RequestIds::new().unwrap().next(), &[&secret], &caller(&subject)),
        );
        lines(std::str::from_utf8(&line).unwrap())[0]["time"].as_str().unwrap().to_owned()
    };
    assert_eq!(stamp("2026-02-28T23:59:59.000001999Z"), "2026-02-28T23:59:59.000001Z");
    assert_eq!(stamp("2024-02-29T00:00:00Z"), "2024-02-29T00:00:00.000000Z");
    assert_eq!(stamp("2026-12-31T12:00:00.98765+02:00"), "2026-12-31T10:00:00.987650Z");
}

proptest! {
    #[test]
    fn no_text_can_break_a_line(pod in any::<String>(), micros in any::<u64>(), uid in any::<u32>(), pid in 1..i32::MAX) {
        let (mut line, secret, subject) = (Vec::new(), location("e:::zones/a.b@c+d:"), Subject::from_uid(0).unwrap());
        let secrets = [&secret, &secret];
        let caller = AuditCaller::new(Some(&subject), Some(&pod), Peer { uid, gid: uid, pid: Some(pid) });
        let mut made = record(RequestIds::new().unwrap().next(), &secrets, &caller);
        made.duration = Some(Duration::from_micros(micros));
        line::push(&mut line, &mut Stamp::default(), Timestamp::now(), &made);
        prop_assert!(line.split(|byte| *byte == b'\n').count() == 2 && line.is_ascii());
        let parsed = lines(std::str::from_utf8(&line).unwrap()).remove(0);
        prop_assert_eq!(parsed["pod"].as_str(), Some(pod.as_str()));
        prop_assert_eq!(parsed["peer"]["uid"].as_u64(), Some(u64::from(uid)));
        prop_assert_eq!(parsed["duration_us"].as_u64(), Some(micros));
        prop_assert_eq!(parsed["secrets"][1].as_str(), Some("e:::zones/a.b@c+d"));
    }
}
