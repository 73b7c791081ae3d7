//! The bench: the agent beside a bare hyper server, in turns, on the same kind of socket; figures are ratios.
#![expect(clippy::print_stdout, reason = "a bench is there to print")]
#![expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
#![expect(clippy::disallowed_methods, reason = "a bench measures on the real clock")]

mod bare;
mod client;
mod rows;
mod servers;
mod soak;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

const USAGE: &str = "\
cloakroom-bench bench [--json FILE] [--rounds N] [--seconds S]   compare the agent with a bare server
cloakroom-bench soak [MINUTES]                                   watch an agent under load
cloakroom-bench bare SOCKET BODY                                 the bare server";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("bare") => {
            let socket = arguments.next().context(USAGE)?;
            bare::serve(&PathBuf::from(socket), arguments.next().context(USAGE)?)
        }
        Some("bench") => bench(arguments),
        Some("soak") => {
            let minutes = arguments.next().map_or(Ok(30), |text| text.parse()).context(USAGE)?;
            soak::run(Duration::from_secs(60 * minutes))
        }
        _ => bail!(USAGE),
    }
}

fn bench(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (mut json, mut rounds, mut seconds) = (None, 7, 2.0);
    while let Some(option) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        match option.as_str() {
            "--json" => json = Some(PathBuf::from(value)),
            "--rounds" => rounds = value.parse().context(USAGE)?,
            "--seconds" => seconds = value.parse().context(USAGE)?,
            _ => bail!(USAGE),
        }
    }
    let rows = rows::measure(rounds, Duration::from_secs_f64(seconds))?;
    println!("{}", table::show(&rows));
    if let Some(path) = json {
        std::fs::write(&path, table::json(&rows)?).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
