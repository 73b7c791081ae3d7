//! Every key of the configuration but those of `secrets` and `limits`, in the order of the documents.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::reader::Reader;
use super::{
    AuditConfig, AuditSink, CacheConfig, ChecksumScheme, Config, IdentityKind, Listen, LogConfig, LogFormat, access,
    backend, limits, render, secrets,
};
use crate::admin::AdminAddress;

/// Reads everything; nothing where something that is needed is missing or wrong, and then there is a problem.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let listen = listen(reader);
    let identity = access::identity(reader);
    let (backend, is_conjur) = backend::read(reader, identity.as_ref());
    let by_uid = identity.as_ref().is_some_and(|identity| identity.kind == IdentityKind::Uid);
    if by_uid && listen.as_ref().is_some_and(|listen| listen.allow_uids.is_empty()) {
        reader.problem("listen.allowUids", "lists the uids that may connect, at least one: [1000]");
    }
    let permissions = access::permissions(reader, identity.as_ref());
    let cache = cache(reader);
    let secrets = secrets::read(reader);
    if secrets.checksum == ChecksumScheme::Keyed && is_conjur {
        reader.problem(
            "secrets.checksum",
            "keyed needs a key that only readers can see, and Conjur has none; write auto",
        );
    }
    let audit = audit(reader);
    let files = render::read(reader, identity.as_ref().map(|identity| identity.kind));
    let limits = limits::read(reader);
    let log = log(reader);
    Some(Config {
        listen: listen?,
        backend: backend?,
        identity: identity?,
        permissions: permissions?,
        cache,
        secrets,
        audit: audit?,
        render: files,
        limits,
        log,
        dev: false,
    })
}

fn listen(reader: &mut Reader<'_>) -> Option<Listen> {
    let socket = "The API's socket. Its directory is made 0750, or must be ours and not writable by others.";
    let given = reader.value(
        "listen.socket",
        json!({"type": "string", "default": "/run/cloakroom/agent/agent.sock", "description": socket}),
    );
    let socket = match given {
        None => Some(PathBuf::from("/run/cloakroom/agent/agent.sock")),
        Some(value) => {
            let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
            if path.is_none() {
                reader.problem("listen.socket", "must be an absolute path");
            }
            path
        }
    };
    let group = uid(reader, "listen.group", "Gid of directory and socket; the agent must be a member.");
    let allow_uids = uids(reader);
    let admin = admin(reader);
    Some(Listen { socket: socket?, group, allow_uids: allow_uids?, admin })
}

fn uid(reader: &mut Reader<'_>, path: &'static str, description: &str) -> Option<u32> {
    let schema = json!({"type": "integer", "minimum": 0, "maximum": u32::MAX - 1, "description": description});
    let value = reader.value(path, schema)?;
    let found = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number != u32::MAX);
    if found.is_none() {
        reader.problem(path, "must be a number, not a name");
    }
    found
}

fn uids(reader: &mut Reader<'_>) -> Option<Vec<u32>> {
    const PATH: &str = "listen.allowUids";
    let description = "The uids that may connect. Required with identity uid; with identity pod, none means every \
                       container that has the socket's mount.";
    let schema = json!({"type": "array", "items": {"type": "integer", "minimum": 0}, "description": description});
    let list = match reader.value(PATH, schema) {
        Some(Value::Array(list)) => list.clone(),
        Some(_) => {
            reader.problem(PATH, "must be a list of numbers: [1000]");
            return None;
        }
        None => Vec::new(),
    };
    let mut uids = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        match entry.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(65534 | u32::MAX) => reader.problem(
                &format!("{PATH}[{index}]"),
                "is the uid that stands for every unmapped one, so it is nobody's identity",
            ),
            Some(uid) => uids.push(uid),
            None => reader.problem(&format!("{PATH}[{index}]"), "must be a number, not a name"),
        }
    }
    Some(uids)
}

fn admin(reader: &mut Reader<'_>) -> Option<AdminAddress> {
    const PATH: &str = "listen.admin";
    const DEFAULT: &str = "127.0.0.1:9187";
    let description = "/livez, /readyz and /metrics: an address and port, unix:/PATH, or \"\" to turn them off.";
    let value = reader.value(PATH, json!({"type": "string", "default": DEFAULT, "description": description}));
    let text = value.map_or(Some(DEFAULT), Value::as_str);
    match text {
        Some("") => None,
        Some(text) => {
            let address = AdminAddress::parse(text);
            if address.is_none() {
                reader.problem(PATH, "must be an address and port such as 127.0.0.1:9187, unix:/PATH, or \"\"");
            }
            address
        }
        None => {
            reader.problem(PATH, "must be text such as 127.0.0.1:9187");
            None
        }
    }
}

pub(super) fn cache(reader: &mut Reader<'_>) -> CacheConfig {
    let (zero, day) = (Duration::ZERO, Duration::from_hours(24));
    CacheConfig {
        max_bytes: reader.bytes("cache.maxBytes", 8 << 20, (64 << 10, 1 << 30), "Bytes of values and their keys."),
        max_entries: reader.count("cache.maxEntries", 10_000, (1, 1_000_000), "Values in memory."),
        ttl: reader.duration(
            "cache.ttl",
            Duration::from_mins(5),
            (zero, day),
            "How long a value is fresh; 0s turns the cache off.",
        ),
        negative_ttl: reader.duration(
            "cache.negativeTtl",
            Duration::from_secs(1),
            (zero, Duration::from_secs(10)),
            "How long an absence is believed.",
        ),
        stale_if_error: reader.duration(
            "cache.staleIfError",
            zero,
            (zero, day),
            "How long past its time a value may stand in for an unavailable backend.",
        ),
        refresh_ahead: reader.fraction(
            "cache.refreshAhead",
            0.2,
            "The last part of its time in which a value that is asked for is fetched again.",
        ),
    }
}

fn audit(reader: &mut Reader<'_>) -> Option<AuditConfig> {
    let sink = reader.choice("audit.sink", &[("stdout", false), ("file", true)], Some("stdout"), "Where records go.");
    let file =
        reader.absolute("audit.file", "The file of sink file: made with mode 0640, appended to, reopened on SIGHUP.");
    let hmac_key_file = reader.absolute(
        "audit.hmacKeyFile",
        "The key of value fingerprints, 16 bytes or more; without it they differ from start to start.",
    );
    let timeout = reader.duration(
        "audit.timeout",
        crate::audit::DEFAULT_TIMEOUT,
        (Duration::from_millis(100), Duration::from_secs(8)),
        "How long a request waits for its record before it is refused.",
    );
    let sink = match (sink?, file) {
        (true, Some(file)) => AuditSink::File(file),
        (true, None) => {
            reader.problem("audit.file", "is missing; sink file needs the path of the file");
            return None;
        }
        (false, None) => AuditSink::Stdout,
        (false, Some(_)) => {
            reader.problem("audit.file", "stands without `sink: file`; add it, or take the file away");
            return None;
        }
    };
    Some(AuditConfig { sink, hmac_key_file, timeout })
}

fn log(reader: &mut Reader<'_>) -> LogConfig {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    let level = reader.choice(
        "log.level",
        &levels,
        None,
        "The level of the log; fixed against CLOAKROOM_LOG where it is given. Default: info",
    );
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.choice("log.format", &formats, Some("auto"), "auto is text on a terminal and JSON otherwise.");
    LogConfig { level, format: format.unwrap_or(LogFormat::Auto) }
}
