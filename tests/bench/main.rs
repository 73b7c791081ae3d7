//! The bench: the agent beside a bare hyper server, in turns, on the same kind of socket; figures are ratios.
#![expect(clippy::print_stdout, reason = "a bench is there to print")]
#![expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
#![expect(clippy::disallowed_methods, reason = "a bench measures on the real clock")]

mod bare;
mod client;
mod kubernetes;
mod rows;
mod servers;
mod soak;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

const USAGE: &str = "\
cloakroom-bench bench [--json FILE] [--rounds N] [--seconds S]   compare the agent with a bare server
cloakroom-bench kubernetes [--json FILE] [--rounds N] [--image PROGRAM]   compare it with kube-rs on a real cluster
cloakroom-bench soak [MINUTES]                                   watch an agent under load
cloakroom-bench bare SOCKET BODY                                 the bare server
cloakroom-bench bare-get KUBECONFIG COUNT                        the bare client of the API server";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("bare") => {
            let socket = arguments.next().context(USAGE)?;
            bare::serve(&PathBuf::from(socket), arguments.next().context(USAGE)?)
        }
        Some("bare-get") => {
            let kubeconfig = arguments.next().context(USAGE)?;
            kubernetes::bare_get(&PathBuf::from(kubeconfig), arguments.next().context(USAGE)?.parse()?)
        }
        Some("bench") => {
            bench(arguments, &|options| rows::measure(options.rounds, Duration::from_secs_f64(options.seconds)))
        }
        Some("kubernetes") => {
            bench(arguments, &|options| kubernetes::measure(options.rounds, options.image.as_deref()))
        }
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
