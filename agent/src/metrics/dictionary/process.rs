//! What every Prometheus client library tells of its process.

use super::Metric;

const fn proc(metric: Metric) -> Metric {
    metric.source("`/proc/self`")
}

pub(super) const METRICS: &[Metric] = &[
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
