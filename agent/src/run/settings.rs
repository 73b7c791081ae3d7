//! From the configuration to what each part asks for.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::api::ApiLimits;
use crate::audit::{AuditSettings, SinkTarget};
use crate::backend::conjur::ConjurBackendSettings;
use crate::backend::deadline::DeadlineSettings;
use crate::backend::embedded::EmbeddedSettings;
use crate::backend::kubernetes::{KubernetesSettings, ScopeLabels};
use crate::cache::CacheSettings;
use crate::config::{
    AuditSink, BackendConfig, ChecksumScheme, Config, ConjurConfig, EmbeddedConfig, KubernetesConfig, LeaseConfig,
};
use crate::conjur::ConjurSettings;
use crate::server::ServerSettings;

/// Objects that one agent watches; what is used beyond them lives out its time to live.
const WATCHES_MAX: usize = 1000;

/// Longer keys are hashed by HMAC anyway (RFC 2104 §3).
const KEY_BYTES_MAX: u64 = 4096;

pub(super) fn audit(config: &Config) -> anyhow::Result<AuditSettings> {
    let sink = match &config.audit.sink {
        AuditSink::Stdout => SinkTarget::Stdout,
        AuditSink::File(path) => SinkTarget::File(path.clone()),
    };
    let hmac_key = config.audit.hmac_key_file.as_deref().map(read_key).transpose()?;
    Ok(AuditSettings { hmac_key, timeout: config.audit.timeout, ..AuditSettings::new(sink) })
}

fn read_key(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(Vec::with_capacity(usize_of(KEY_BYTES_MAX)));
    std::fs::File::open(path)
        .and_then(|file| file.take(KEY_BYTES_MAX).read_to_end(&mut key))
        .with_context(|| format!("audit.hmacKeyFile: cannot read {}", path.display()))?;
    Ok(key)
}

pub(super) fn cache(config: &Config) -> CacheSettings {
    let cache = &config.cache;
    CacheSettings {
        max_bytes: cache.max_bytes,
        max_entries: cache.max_entries,
        ttl: cache.ttl,
        negative_ttl: cache.negative_ttl,
        stale_if_error: cache.stale_if_error,
        refresh_ahead: cache.refresh_ahead,
    }
}

pub(super) fn server(config: &Config) -> ServerSettings {
    let limits = &config.limits;
    ServerSettings {
        connections: usize_of(limits.connections),
        header_bytes: usize_of(limits.header_bytes),
        header_fields: usize_of(limits.header_fields),
        header_timeout: limits.header_timeout,
        body_bytes: usize_of(limits.body_bytes),
        body_timeout: limits.body_timeout,
        answer_timeout: limits.body_timeout,
        drain_timeout: limits.drain_timeout,
    }
}

pub(super) fn api(config: &Config) -> ApiLimits {
    let limits = &config.limits;
    ApiLimits {
        batch_ids: usize_of(limits.batch_ids),
        answer_bytes: usize_of(limits.in_flight_bytes),
        document_bytes: usize_of(limits.document_bytes),
        event_streams: usize_of(limits.event_streams),
        turn: limits.request_timeout,
    }
}

pub(super) fn embedded(config: &Config, embedded: &EmbeddedConfig) -> EmbeddedSettings {
    EmbeddedSettings {
        file: embedded.file.clone(),
        key_file: embedded.key_file.clone(),
        slot_bytes_max: usize_of(config.limits.slot_bytes),
        keyed: config.secrets.checksum != ChecksumScheme::Sha256,
    }
}

pub(super) fn kubernetes(config: &Config, kubernetes: &KubernetesConfig) -> KubernetesSettings {
    let call = config.limits.backend_timeout;
    KubernetesSettings {
        scope_labels: ScopeLabels {
            environment: kubernetes.environment.clone(),
            team: kubernetes.team.clone(),
            application: kubernetes.application.clone(),
        },
        fixed_labels: kubernetes.fixed_labels.clone(),
        finalizer: kubernetes.finalizer.clone(),
        create_namespaces: kubernetes.create_namespaces,
        slot_bytes_max: usize_of(config.limits.slot_bytes),
        keyed: config.secrets.checksum != ChecksumScheme::Sha256,
        believed: config.cache.ttl,
        watches_max: WATCHES_MAX,
        kept_bytes_max: usize_of(config.cache.max_bytes),
        call,
        // Less than the deadline around it, so that it ends in an answer of its own.
        write: call.mul_f64(0.9),
    }
}

pub(super) fn conjur(config: &Config, conjur: &ConjurConfig) -> ConjurSettings {
    ConjurSettings {
        url: conjur.url.clone(),
        follower_url: conjur.follower_url.clone(),
        account: conjur.account.clone(),
        authorities: conjur.authorities.clone(),
        authn: conjur.authn.clone(),
        // Less than the deadline around it, so that it ends in an answer of its own.
        call: config.limits.backend_timeout.mul_f64(0.9),
        load: config.limits.onboard_timeout.mul_f64(0.9),
    }
}

pub(super) fn conjur_backend(config: &Config, conjur: &ConjurConfig) -> ConjurBackendSettings {
    ConjurBackendSettings {
        root: conjur.root.clone(),
        slot_bytes_max: usize_of(config.limits.slot_bytes),
        version_poll: conjur.version_poll,
        in_use: config.cache.ttl,
        call: config.limits.backend_timeout.mul_f64(0.9),
        write: config.limits.backend_timeout.mul_f64(0.9),
        single_writer: conjur.lease == LeaseConfig::None,
        onboard: config.limits.onboard_timeout.mul_f64(0.9),
    }
}

pub(super) fn deadlines(config: &Config) -> DeadlineSettings {
    let (call, onboard) = (config.limits.backend_timeout, config.limits.onboard_timeout);
    // What Conjur holds is only taken away by loading a policy.
    let delete = if matches!(config.backend, BackendConfig::Conjur(_)) { onboard } else { call };
    DeadlineSettings { call, delete, onboard }
}

pub(super) fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
