//! The `process_` metrics, which every Prometheus client library provides, from `/proc/self`.

use crate::metric::Metric;
use crate::page::Page;
use dnscribe_record::number::to_f64;
use std::fs;

const fn proc(metric: Metric) -> Metric {
    metric.source("`/proc/self`")
}

/// Descriptions of the metrics of a process.
pub const METRICS: &[Metric] = &[
    proc(Metric::gauge("process_resident_memory_bytes", "bytes", "Resident memory size in bytes.")),
    proc(Metric::gauge("process_virtual_memory_bytes", "bytes", "Virtual memory size in bytes.")),
    proc(Metric::gauge("process_threads", "threads", "Number of threads.")),
    proc(Metric::gauge(
        "process_start_time_seconds",
        "seconds",
        "Start time of the process since unix epoch in seconds.",
    )),
    proc(Metric::gauge("process_open_fds", "descriptors", "Number of open file descriptors.")),
    proc(Metric::gauge(
        "process_max_fds",
        "descriptors",
        "Maximum number of open file descriptors.",
    )),
    proc(Metric::counter(
        "process_cpu_seconds_total",
        "seconds",
        "Total user and system CPU time spent in seconds.",
    )),
];

/// Writes the metrics of this process; those that cannot be read are left out.
pub fn write(page: &mut Page) {
    let mut gauge = |name, value: Option<f64>| {
        if let Some(value) = value {
            page.family(name).value(&[], value);
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = to_f64(rustix::param::clock_ticks_per_second());
    let page_bytes = to_f64(rustix::param::page_size() as u64);
    // Field numbers of proc_pid_stat(5), from 1.
    let virtual_bytes = field(&stat, 23);
    let resident_bytes = field(&stat, 24).map(|pages| pages * page_bytes);
    let started = field(&stat, 22).and_then(|since_boot| Some(boot_time()? + since_boot / ticks));
    gauge("process_resident_memory_bytes", resident_bytes);
    gauge("process_virtual_memory_bytes", virtual_bytes);
    gauge("process_threads", field(&stat, 20));
    gauge("process_start_time_seconds", started);
    gauge("process_open_fds", open_fds());
    gauge("process_max_fds", max_fds());
    if let (Some(user), Some(system)) = (field(&stat, 14), field(&stat, 15)) {
        page.family("process_cpu_seconds_total").value(&[], (user + system) / ticks);
    }
}

/// Returns a field of `/proc/self/stat` by its number; field 2, the program's name, may contain
/// anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// Returns the boot time of the system in seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_fds() -> Option<f64> {
    // The descriptor that reads the directory does not count.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some(to_f64(count as u64))
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_all_metrics() {
        let mut page = Page::new(|name| METRICS.iter().find(|metric| metric.name == name));
        write(&mut page);
        let text = page.into_text();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 7, "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        let age = to_f64(dnscribe_record::time::Timestamp::now().as_nanos()) / 1e9
            - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
