//! The `process_` metrics, from `/proc/self`.

use super::text::Page;
use std::fs;

/// Writes what can be had; what cannot is left out.
pub(super) fn write(page: &mut Page) {
    let mut gauge = |name, value: Option<f64>| {
        if let Some(value) = value {
            page.family(name);
            page.value(name, &[], value);
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = whole(rustix::param::clock_ticks_per_second());
    let page_bytes = whole(rustix::param::page_size() as u64);
    // Numbers as in proc_pid_stat(5), from 1.
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
        let name = "process_cpu_seconds_total";
        page.family(name);
        page.value(name, &[], (user + system) / ticks);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
fn whole(number: u64) -> f64 {
    number as f64
}

/// The field of that number; the second is the program's name, which may hold anything.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// When the system started, in seconds since the Unix epoch.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_fds() -> Option<f64> {
    // The descriptor that reads the directory is not counted.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some(whole(count as u64))
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
    fn knows_itself() {
        let mut page = Page::default();
        write(&mut page);
        let text = page.into_text();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 7, "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        let age = whole(crate::time::Timestamp::now().as_nanos()) / 1e9
            - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
