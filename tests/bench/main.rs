//! The bench: the agent beside a bare hyper server, in turns, on the same kind of socket; figures are ratios.
#![expect(clippy::print_stdout, reason = "a bench is there to print")]
#![expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
#![expect(clippy::disallowed_methods, reason = "a bench measures on the real clock")]

mod admission;
mod bare;
mod bare_tls;
mod client;
mod conjur;
mod double;
mod kubernetes;
mod pods;
mod proxy;
mod render;
mod rows;
mod servers;
mod soak;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

const USAGE: &str = "\
cloakroom-bench bench [--json FILE] [--rounds N] [--seconds S]   compare the agent with a bare server
cloakroom-bench admission [--json FILE] [--rounds N] [--seconds S]   its rows about the injector alone
cloakroom-bench conjur [--json FILE] [--rounds N]               its rows about Conjur alone
cloakroom-bench render [--json FILE] [--rounds N]               its rows about files alone
cloakroom-bench kubernetes [--json FILE] [--rounds N] [--image PROGRAM]   compare it with kube-rs on a real cluster
cloakroom-bench pods [--json FILE] [--rounds N]                 compare the start of pods on a node with the chart
cloakroom-bench soak [MINUTES]                                   watch an agent under load
cloakroom-bench bare SOCKET BODY                                 the bare server
cloakroom-bench bare-tls ADDRESS DIRECTORY                       the bare webhook
cloakroom-bench bare-get KUBECONFIG COUNT                        the bare client of the API server
cloakroom-bench double DIRECTORY MILLISECONDS                    the double of Conjur
cloakroom-bench proxy SOCKET DIRECTORY                           the bare proxy in front of it";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("bare") => {
            let socket = arguments.next().context(USAGE)?;
            bare::serve(&PathBuf::from(socket), arguments.next().context(USAGE)?)
        }
        Some("bare-tls") => {
            let address = arguments.next().context(USAGE)?.parse()?;
            bare_tls::serve(address, &PathBuf::from(arguments.next().context(USAGE)?))
        }
        Some("bare-get") => {
            let kubeconfig = arguments.next().context(USAGE)?;
            kubernetes::bare_get(&PathBuf::from(kubeconfig), arguments.next().context(USAGE)?.parse()?)
        }
        Some("double") => {
            let directory = arguments.next().context(USAGE)?;
            let latency = Duration::from_millis(arguments.next().context(USAGE)?.parse()?);
            double::serve(&PathBuf::from(directory), latency)
        }
        Some("proxy") => {
            let socket = arguments.next().context(USAGE)?;
            proxy::serve(&PathBuf::from(socket), &PathBuf::from(arguments.next().context(USAGE)?))
        }
        Some("admission") => {
            bench(arguments, &|options| admission::measure(options.rounds, Duration::from_secs_f64(options.seconds)))
        }
        Some("conjur") => bench(arguments, &|options| conjur::measure(options.rounds)),
        Some("render") => bench(arguments, &|options| render::measure(options.rounds)),
        Some("bench") => {
            bench(arguments, &|options| rows::measure(options.rounds, Duration::from_secs_f64(options.seconds)))
        }
        Some("kubernetes") => {
            bench(arguments, &|options| kubernetes::measure(options.rounds, options.image.as_deref()))
        }
        Some("pods") => bench(arguments, &|options| pods::measure(options.rounds)),
        Some("soak") => {
            let minutes = arguments.next().map_or(Ok(30), |text| text.parse()).context(USAGE)?;
            soak::run(Duration::from_secs(60 * minutes))
        }
        _ => bail!(USAGE),
    }
}

struct Options {
    json: Option<PathBuf>,
    rounds: usize,
    seconds: f64,
    /// What an image would carry.
    image: Option<PathBuf>,
}

type Measure<'a> = &'a dyn Fn(&Options) -> anyhow::Result<Vec<table::Row>>;

fn bench(mut arguments: impl Iterator<Item = String>, measure: Measure<'_>) -> anyhow::Result<()> {
    let mut options = Options { json: None, rounds: 7, seconds: 2.0, image: None };
    while let Some(option) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        match option.as_str() {
            "--json" => options.json = Some(PathBuf::from(value)),
            "--image" => options.image = Some(PathBuf::from(value)),
            "--rounds" => options.rounds = value.parse().context(USAGE)?,
            "--seconds" => options.seconds = value.parse().context(USAGE)?,
            _ => bail!(USAGE),
        }
    }
    let rows = measure(&options)?;
    println!("{}", table::show(&rows));
    if let Some(path) = options.json {
        std::fs::write(&path, table::json(&rows)?).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
