//! B2: everything that can go wrong between the agent and Conjur, times everything that the agent asks of it.

use std::net::TcpListener;
use std::time::Duration;

use cloakroom_agent::backend::BackendError::{
    self, Absent, Contention, Denied, LoadRefused, Misbehaved, OutcomeUnknown, ScopeMissing, Unavailable,
};
use cloakroom_tests::conjur::{FakeConjur, Fault, Kind};
use cloakroom_tests::conjur_agent::{ALL, ConjurAgent, Making, prepared, scope_in};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::timeout;

const SCALAR: &str = "poc:team:app:clientSecret:";
const ENTRY: &str = "poc:team:app:externalSecrets/key:";

/// Time for one call; B2 gives an answer ten seconds in all.
const CALL: Duration = Duration::from_millis(1500);
const ANSWERED: Duration = Duration::from_secs(10);

/// B2: how soon everything is well again.
const RECOVERED: Duration = Duration::from_secs(2);

/// What the agent asks for, and with it the calls that go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Login,
    Read,
    Batch,
    Write,
    Merge,
    Load,
    Metadata,
}

const ALL_ASKED: [Asked; 7] =
    [Asked::Login, Asked::Read, Asked::Batch, Asked::Write, Asked::Merge, Asked::Load, Asked::Metadata];

impl Asked {
    fn calls(self) -> Kind {
        match self {
            Self::Login => Kind::Login,
            Self::Read => Kind::Read,
            Self::Batch => Kind::Batch,
            Self::Write | Self::Merge => Kind::Write,
            Self::Load => Kind::PolicyLoad,
            Self::Metadata => Kind::Metadata,
        }
    }
}

/// What comes of it: the error, or none.
type Outcome = Option<BackendError>;

const FINE: Outcome = None;

fn away(seconds: u64) -> Outcome {
    Some(Unavailable { retry_after: Duration::from_secs(seconds) })
}

/// One way to fail, and what comes of it for each of [`ALL_ASKED`].
struct Row {
    name: &'static str,
    fault: Fault,
    outcomes: [Outcome; 7],
}

fn row(name: &'static str, fault: Fault, outcomes: [Outcome; 7]) -> Row {
    Row { name, fault, outcomes }
}

/// The statuses of `API.md`. A write that may have arrived and is not there when it is read back is a 504; one that was
/// certainly not done is what the refusal says. What was done and answered badly is done; of a load it is not learned
/// either which branch takes it. A batch that misbehaves is asked for one by one.
#[rustfmt::skip]
fn matrix(elsewhere: &str) -> Vec<Row> {
    let (bad, denied, unknown) = (Some(Misbehaved), Some(Denied), Some(OutcomeUnknown));
    let (absent, no_scope, no_load, busy) = (Some(Absent), Some(ScopeMissing), Some(LoadRefused), Some(Contention));
    let huge = Fault::Huge { bytes: 100 << 20, declared: false };
    let announced = Fault::Huge { bytes: 100 << 20, declared: true };
    let status = Fault::status;
    vec![
        //                                                        login    read     batch    write    merge    load     metadata
        row("refused",    Fault::Refuse,                         [away(1), away(1), away(1), away(1), away(1), away(1), away(1)]),
        row("TLS stall",  Fault::TlsStall,                       [away(1), away(1), away(1), away(1), away(1), away(1), away(1)]),
        row("reset",      Fault::Reset,                          [away(1), away(1), away(1), unknown, unknown, unknown, away(1)]),
        row("silence",    Fault::Hang,                           [away(1), away(1), away(1), unknown, unknown, unknown, away(1)]),
        row("slow body",  Fault::SlowBody(1),                    [away(1), away(1), away(1), FINE,    FINE,    unknown, away(1)]),
        row("truncated",  Fault::Truncated,                      [bad,     bad,     FINE,    FINE,    FINE,    unknown, bad    ]),
        row("100 MiB",    huge,                                  [bad,     bad,     FINE,    unknown, unknown, unknown, bad    ]),
        row("announced",  announced,                             [bad,     bad,     FINE,    unknown, unknown, unknown, bad    ]),
        row("HTML",       Fault::Html,                           [bad,     bad,     FINE,    unknown, unknown, unknown, bad    ]),
        row("gzip bomb",  Fault::GzipBomb,                       [bad,     bad,     FINE,    unknown, unknown, unknown, bad    ]),
        row("redirect",   Fault::Redirect(elsewhere.to_owned()), [bad,     bad,     FINE,    bad,     bad,     bad,     bad    ]),
        row("401",        status(401),                           [away(1), bad,     bad,     bad,     bad,     bad,     bad    ]),
        row("403",        status(403),                           [denied,  denied,  FINE,    denied,  denied,  no_load, denied ]),
        row("404",        status(404),                           [bad,     absent,  FINE,    no_scope, no_scope, no_load, no_scope]),
        row("409",        status(409),                           [bad,     bad,     FINE,    bad,     bad,     busy,    bad    ]),
        row("422",        status(422),                           [bad,     bad,     FINE,    bad,     bad,     no_load, bad    ]),
        row("429",        Fault::later(429, 7),                  [away(7), away(7), away(7), away(7), away(7), away(7), away(7)]),
        row("500",        status(500),                           [away(1), away(1), away(1), away(1), away(1), away(1), away(1)]),
        row("502",        status(502),                           [away(1), away(1), away(1), unknown, unknown, unknown, away(1)]),
        row("503",        Fault::later(503, 7),                  [away(7), away(7), away(7), unknown, unknown, unknown, away(7)]),
    ]
}

async fn ask(agent: &ConjurAgent, asked: Asked) -> Outcome {
    match asked {
        Asked::Login | Asked::Read => agent.read(SCALAR).await.err(),
        Asked::Batch => {
            let ids: Vec<String> = (0..6).map(|app| format!("poc:team:app-{app}:clientSecret:")).collect();
            agent.read_all(&ids).await.into_iter().find_map(Result::err)
        }
        Asked::Write => agent.put(SCALAR, "written").await.err(),
        Asked::Merge | Asked::Metadata => agent.put(ENTRY, "merged").await.err(),
        Asked::Load => agent.onboard("poc/team/new").await.err(),
    }
}

/// A double with the scopes that are asked for.
async fn ready() -> FakeConjur {
    let fake = prepared(&[("agent", ALL)]).await;
    let apps = (0..6).map(|app| format!("app-{app}")).chain(["app".to_owned()]);
    for app in apps {
        scope_in(&fake, &format!("poc/team/{app}"));
        fake.set_value(&format!("controlplane/poc/team/{app}/clientSecret"), "value");
    }
    fake
}

/// What is wrong with one cell; nothing if it is as the table says.
async fn cell(name: &'static str, fault: Option<Fault>, asked: Asked, expected: Outcome) -> Option<String> {
    let fake = ready().await;
    // A name that exists nowhere (RFC 6761 §6.4).
    let url = fault.is_none().then(|| "https://conjur.invalid".to_owned());
    // What is refused for its length has to come first, and TLS is slow where nothing is optimised.
    let call = if matches!(fault, Some(Fault::Huge { .. })) { CALL * 3 } else { CALL };
    let making = || Making { call, load: CALL, url: url.clone(), ..Making::default() };
    let before = match (&fault, asked) {
        (None, _) | (_, Asked::Login) => None,
        _ => Some(ConjurAgent::logged_in(&fake, making()).await),
    };
    fake.forget_calls();
    if let Some(fault) = fault.clone() {
        fake.fail(asked.calls(), fault);
    }
    if let (Some(agent), Some(Fault::Refuse | Fault::TlsStall)) = (&before, &fault) {
        // Whoever writes to a connection that is gone learns of it too late to know what became of that.
        while agent.read(SCALAR).await.is_ok() {}
    }
    let agent = before.unwrap_or_else(|| ConjurAgent::new(&fake, making()));
    let outcome = timeout(ANSWERED, ask(&agent, asked)).await;
    let in_flight = fake.max_in_flight();
    fake.clear_faults();
    let again = async |asked| {
        while ask(&agent, asked).await.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Onboarding is a dozen calls, and takes what they take.
    let (at_once, limit) = if asked == Asked::Load { (Asked::Read, ANSWERED) } else { (asked, RECOVERED) };
    let recovered = fault.is_none()
        || (timeout(RECOVERED, again(at_once)).await.is_ok() && timeout(limit, again(asked)).await.is_ok());
    let wrong = match outcome {
        Ok(outcome) if outcome != expected => format!("{outcome:?}, not {expected:?}"),
        Err(_elapsed) => "no answer in time".to_owned(),
        Ok(_) if in_flight > 5 => format!("{in_flight} calls at once"),
        Ok(_) if !recovered => "no recovery in time".to_owned(),
        Ok(_) => return None,
    };
    Some(format!("{name} × {asked:?}: {wrong}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_every_fault_of_every_call_ends_as_the_table_of_statuses_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}/", listener.local_addr().unwrap());
    let mut cells: Vec<_> = matrix(&elsewhere)
        .into_iter()
        .flat_map(|row| {
            let fault = row.fault;
            ALL_ASKED.into_iter().zip(row.outcomes).map(move |(asked, out)| (row.name, Some(fault.clone()), asked, out))
        })
        .collect();
    cells.extend(ALL_ASKED.map(|asked| ("DNS failure", None, asked, away(1))));
    let wrong: Vec<String> = stream::iter(cells)
        .map(|(name, fault, asked, expected)| cell(name, fault, asked, expected))
        .buffer_unordered(14)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The kernel keeps connections that nobody has accepted: there was none.
    let visited = listener.accept().map_err(|error| error.kind());
    assert_eq!(visited.err(), Some(std::io::ErrorKind::WouldBlock), "somebody followed the redirect");
}
