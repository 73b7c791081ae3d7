//! `process_*`: what Prometheus clients are expected to say of their process, read from /proc (`proc_pid_stat(5)`).

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the process's own figures at each scrape; a figure that cannot be read is left out.
#[derive(Debug)]
pub struct ProcessCollector;

/// The fields of /proc/self/stat that are reported, already in base units.
struct Stat {
    cpu_seconds: f64,
    start_seconds_after_boot: f64,
    threads: u64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(stat) = read_stat() {
            let cpu = ConstCounter::new(stat.cpu_seconds);
            let descriptor = encoder.encode_descriptor(
                "process_cpu",
                "User and system time",
                Some(&Unit::Seconds),
                cpu.metric_type(),
            )?;
            cpu.encode(descriptor)?;
            gauge(&mut encoder, "process_threads", "Threads", None, stat.threads)?;
            if let Some(boot) = boot_time() {
                let start = ConstGauge::new(boot + stat.start_seconds_after_boot);
                let descriptor = encoder.encode_descriptor(
                    "process_start_time",
                    "Start, seconds since the epoch",
                    Some(&Unit::Seconds),
                    start.metric_type(),
                )?;
                start.encode(descriptor)?;
            }
        }
        if let Some(bytes) = resident_bytes() {
            gauge(&mut encoder, "process_resident_memory", "Resident memory", Some(&Unit::Bytes), bytes)?;
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            gauge(&mut encoder, "process_open_fds", "Open descriptors", None, entries.count() as u64)?;
        }
        if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
            gauge(&mut encoder, "process_max_fds", "Limit of open descriptors", None, soft)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    let descriptor = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
    gauge.encode(descriptor)
}

fn read_stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The command name is in parentheses and may hold anything, also a parenthesis: fields are counted from the last.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Field 3 (state) is at index 0.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten()?;
    let ticks = u32::try_from(ticks).ok().map(f64::from)?;
    let seconds = |ticks_used: u64| u32::try_from(ticks_used).ok().map(|used| f64::from(used) / ticks);
    Some(Stat {
        cpu_seconds: seconds(field(14)? + field(15)?)?,
        start_seconds_after_boot: seconds(field(22)?)?,
        threads: field(20)?,
    })
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten()?;
    u64::try_from(size).ok().map(|size| pages * size)
}
