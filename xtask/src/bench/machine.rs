//! Description of the machine on which the benchmark runs.

use std::fs;
use std::thread;

/// Returns processor, memory, kernel and version of dnscribe in one line.
pub fn description() -> String {
    let cpu =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kibibytes = field("/proc/meminfo", "MemTotal")
        .and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    let memory = kibibytes.map_or_else(String::new, |total| {
        format!(", {} GiB", (total + 512 * 1024) / (1024 * 1024))
    });
    let system = rustix::system::uname();
    format!(
        "{cpu}, {cores} core{}{memory}, {} {}, dnscribe {}",
        if cores == 1 { "" } else { "s" },
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// First value of a name in a file such as `/proc/meminfo`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_memory_and_kernel() {
        let shown = description();
        assert!(shown.contains(" GiB, Linux "), "{shown}");
        assert_eq!(field("/proc/cpuinfo", "no such name"), None);
    }
}
