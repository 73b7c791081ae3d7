//! Makes authorities and leaves: ECDSA P-256, with as little in them as a Go client needs.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};

use super::state::{Authority, Key, Leaf, State};
use super::{Lifetimes, Validity};

/// Clocks differ: what is made now is good on a machine whose clock is behind ours.
const SKEW: i64 = 3600;

/// Nothing could be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The certificate library refuses.
    #[error("making a certificate")]
    Library(#[from] rcgen::Error),
    /// There are no random bytes.
    #[error("the system's random source failed")]
    Random,
    /// The newest authority has no key any more.
    #[error("no authority that could issue")]
    NoAuthority,
}

/// A new authority and a first leaf.
///
/// # Errors
/// [`IssueError`].
pub fn everything(names: &[String], now: i64, lifetimes: Lifetimes) -> Result<State, IssueError> {
    let mut authority = authority(now, lifetimes.authority)?;
    let leaf = leaf(&mut authority, names, now, lifetimes.leaf)?;
    Ok(State { authorities: vec![authority], leaf, next: None })
}

/// The same state with a new authority, whose first leaf is the next. The old one does not issue any more.
///
/// # Errors
/// [`IssueError`].
pub fn next_authority(state: State, names: &[String], now: i64, lifetimes: Lifetimes) -> Result<State, IssueError> {
    let mut state = state.retired();
    let mut authority = authority(now, lifetimes.authority)?;
    state.next = Some(leaf(&mut authority, names, now, lifetimes.leaf)?);
    state.authorities.push(authority);
    Ok(state)
}

/// The same state with a new next leaf from the authority that issues.
///
/// # Errors
/// [`IssueError`].
pub fn next_leaf(mut state: State, names: &[String], now: i64, lifetimes: Lifetimes) -> Result<State, IssueError> {
    let authority = state.authorities.last_mut().ok_or(IssueError::NoAuthority)?;
    state.next = Some(leaf(authority, names, now, lifetimes.leaf)?);
    Ok(state)
}

fn authority(now: i64, lifetime: Duration) -> Result<Authority, IssueError> {
    let key = KeyPair::generate()?;
    let number = number()?;
    let mut params = CertificateParams::default();
    // A name of its own: a client that has two authorities of one name would have to try both.
    params.distinguished_name = name(&format!("cloakroom-injector {:032x}", u128::from_be_bytes(number)));
    params.serial_number = Some(SerialNumber::from_slice(&number));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, Validity { from: now - SKEW, until: now.saturating_add(seconds(lifetime)) });
    let certificate = params.self_signed(&key)?.pem();
    Ok(Authority { certificate, key: Some(Key::new(key.serialize_pem())), leaves_until: now })
}

fn leaf(authority: &mut Authority, names: &[String], now: i64, lifetime: Duration) -> Result<Leaf, IssueError> {
    let issuing = authority.key.as_ref().ok_or(IssueError::NoAuthority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(issuing.pem())?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name("cloakroom-injector");
    params.serial_number = Some(SerialNumber::from_slice(&number()?));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let until = now.saturating_add(seconds(lifetime));
    set_validity(&mut params, Validity { from: now - SKEW, until });
    let certificate = params.signed_by(&key, &issuer)?.pem();
    authority.leaves_until = authority.leaves_until.max(until);
    Ok(Leaf { certificate, key: Key::new(key.serialize_pem()) })
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let moment = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    (params.not_before, params.not_after) = (moment(validity.from), moment(validity.until));
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// A serial number that nobody else has (RFC 5280 §4.1.2.2: positive, at most 20 bytes).
fn number() -> Result<[u8; 16], IssueError> {
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|_| IssueError::Random)?;
    number[0] &= 0x7f;
    Ok(number)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
