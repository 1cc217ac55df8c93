//! Whether this host, and the memory cgroup of this process, have the memory that `run` may need.

use dnscribe_agent::capture::live::cgroup;
use dnscribe_agent::config::Config;
use dnscribe_agent::pipeline::MAX_HELD_BYTES;
use dnscribe_analysis::lookup::LookupOptions;
use dnscribe_analysis::uses::UseOptions;
use dnscribe_analysis::window::Windows;
use dnscribe_cli::check::Probe;
use dnscribe_delivery::{SinkSpec, Stream};
use std::fs;
use std::path::Path;

const NAME: &str = "memory";
const MIB: u64 = 1 << 20;

// Figures of the page "Sizing".
/// An agent on a host with little DNS, its program included.
const BASE: u64 = 25 * MIB;
/// Most of the queue of a sink, and as much again in Kafka's client.
const QUEUE: u64 = 64 * MIB;
/// Most that the path of packets needs: those that wait, messages that were not read, exchanges, queries and losses.
const PATH: u64 = MAX_HELD_BYTES as u64 + 80 * MIB;
/// Most that dnstap beside a hook needs for events that wait for their other view.
const BESIDE: u64 = 512 * MIB;
/// Most that detection needs.
const DETECTION: u64 = 80 * MIB;

/// Probes the memory: a failure where `run` would not get what it needs at once, a warning where a flood of queries could
/// have it killed.
pub fn probe(config: &Config) -> Probe {
    let Some(room) = Room::find() else {
        let found = Err(("/proc/meminfo cannot be read".into(), "mount /proc".into()));
        return Probe::from_result(NAME, false, found);
    };
    judge(&room, Need::of(config))
}

fn judge(room: &Room, need: Need) -> Probe {
    Probe::from_result(NAME, room.bytes < need.least, room.suffices(need))
}

/// What `run` needs with a configuration, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    /// On a quiet host, with a full ring.
    least: u64,
    /// In the worst flood, with all sinks slow.
    most: u64,
}

impl Need {
    fn of(config: &Config) -> Self {
        let least = BASE + u64::from(config.capture.ring_bytes);
        let queues = config.sinks.iter().map(|sink| match sink {
            SinkSpec::Null => 0,
            // A Parquet sink holds a row group of some hours.
            SinkSpec::Kafka | SinkSpec::Otlp(_) | SinkSpec::Parquet(_) => 2 * QUEUE,
            // Messages in memory, and the packets of an alert.
            SinkSpec::Evidence(_) => QUEUE + 2 * config.evidence.memory,
            SinkSpec::Stdout
            | SinkSpec::File(_)
            | SinkSpec::Dnstap(_)
            | SinkSpec::Pcapng(_)
            | SinkSpec::Alertmanager => QUEUE,
        });
        let parts = [
            config.pairing.memory_limit_bytes() as u64,
            u64::from(config.wants(Stream::Metrics) || config.detect.is_some())
                * Windows::max_bytes(config.windows.lateness) as u64,
            u64::from(config.wants(Stream::Lookups) || config.capture.connects)
                * LookupOptions::DEFAULT.max_bytes as u64,
            u64::from(config.capture.connects) * UseOptions::DEFAULT.max_bytes(),
            u64::from(config.capture.path) * PATH,
            u64::from(config.is_beside()) * (BESIDE + config.pairing.memory_limit_bytes() as u64),
            u64::from(config.detect.is_some()) * DETECTION,
            queues.sum(),
        ];
        Self { least, most: least + parts.into_iter().sum::<u64>() }
    }
}

/// The memory that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    bytes: u64,
    /// What sets the limit, for people.
    of: String,
}

impl Room {
    /// Finds the smallest of the host's available memory and the limits of this process's cgroup and those above it.
    fn find() -> Option<Self> {
        let host = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let host = Self { bytes: host, of: "are available on this host".to_owned() };
        let limits = cgroup::mount().zip(cgroup::own_path()).map(|(mount, own)| {
            // In a cgroup namespace the path begins with `/`, which is the mount itself.
            limits(&mount, own.trim_start_matches('/'))
        });
        let rooms = limits.into_iter().flatten().chain([host]);
        rooms.min_by_key(|room| room.bytes)
    }

    fn suffices(&self, need: Need) -> Result<String, (String, String)> {
        let [least, most, bytes] = [need.least, need.most, self.bytes].map(|bytes| bytes / MIB);
        let text = format!(
            "run needs {least} MiB, and {most} MiB in the worst flood with slow sinks; {bytes} MiB {}",
            self.of
        );
        if self.bytes >= need.most {
            return Ok(text);
        }
        let remedy = "give it more, or lower capture.ring_bytes, pairing.max_transactions or the number of streams and sinks";
        Err((text, remedy.to_owned()))
    }
}

/// Reads `MemAvailable` of `/proc/meminfo` (manual page `proc_meminfo`), in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the limits (`memory.max`) of a cgroup and of those above it. A file that is missing or says `max` is no limit.
fn limits(mount: &Path, own: &str) -> Vec<Room> {
    let own = mount.join(own);
    let above = own.ancestors().take_while(|directory| directory.starts_with(mount));
    let limit = |directory: &Path| {
        let bytes = fs::read_to_string(directory.join("memory.max")).ok()?.trim().parse().ok()?;
        Some(Room { bytes, of: format!("are the limit of the cgroup {}", directory.display()) })
    };
    above.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_agent::config::layer::Layer;
    use dnscribe_agent::config::{Purpose, Sources};
    use dnscribe_config::ConfigError;
    use dnscribe_config::reader::Field as _;
    use dnscribe_config::reference::Key;

    fn need(sinks: &[&str], ring: &str) -> Need {
        let sinks = sinks.iter().map(|sink| sink.parse().unwrap()).collect();
        let mut flags = Layer { sinks: Some(sinks), ..Layer::default() };
        flags.kafka.brokers = Some(vec!["127.0.0.1:1".parse().unwrap()]);
        flags.capture.ring_bytes = Some(ring.parse().unwrap());
        let sources =
            Sources { purpose: Purpose::Live, file: None, environment: Vec::new(), flags };
        Need::of(&Config::load(&sources).unwrap())
    }

    #[test]
    fn need_grows_with_what_is_configured() {
        let usual = |sinks: &[&str]| need(sinks, "32MiB");
        let (null, one, two) =
            (usual(&["null"]), usual(&["file:/x"]), usual(&["file:/x", "file:/y"]));
        assert_eq!(null.least, 57 * MIB);
        assert_eq!(two.most - one.most, QUEUE);
        let kafka = usual(&["kafka"]);
        assert!(kafka.most >= null.most + 2 * QUEUE + DETECTION, "{kafka:?}: Kafka has alerts");
        let large = need(&["null"], "128MiB");
        assert_eq!(large.most - null.most, 96 * MIB);
    }

    /// Adds the full names of all keys that have a value.
    fn add_names(keys: &[Key], above: &str, names: &mut Vec<String>) {
        for key in keys {
            let name = format!("{above}{}", key.name);
            if key.inside.is_empty() {
                names.push(name);
            } else {
                add_names(&key.inside, &format!("{name}."), names);
            }
        }
    }

    /// Returns what is needed with a file of these settings, such as `spool.max_age: 1h`.
    fn need_with(settings: &[(&str, &str)]) -> Result<Need, ConfigError> {
        let settings = settings.iter().map(|(name, value)| {
            let ends = "}".repeat(name.matches('.').count());
            format!("{}: {value}{ends}", name.replace('.', ": {"))
        });
        let yaml = settings.fold("{version: 1".to_owned(), |yaml, one| format!("{yaml}, {one}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, yaml + "}\n").unwrap();
        let sinks = ["null", "evidence:/x"].map(|sink| sink.parse().unwrap()).to_vec();
        let flags = Layer { sinks: Some(sinks), ..Layer::default() };
        let file = Some(file.path().to_path_buf());
        let sources = Sources { purpose: Purpose::Live, file, environment: Vec::new(), flags };
        Config::load(&sources).map(|config| Need::of(&config))
    }

    #[test]
    fn no_accepted_value_makes_the_need_overflow() {
        const LARGEST: [(&str, &str); 3] = [
            ("windows.lateness", "36500d"),
            ("pairing.max_transactions", "1000000000"),
            ("evidence.memory", "1000000GiB"),
        ];
        let mut names = Vec::new();
        add_names(&Layer::keys(), "", &mut names);
        let larger = ["100000000000h", "18446744073709551615", "18446744073709551615B"];
        for value in LARGEST.into_iter().map(|(_, value)| value).chain(larger) {
            for name in &names {
                // An overflow panics.
                let _ = need_with(&[(name, value)]);
            }
        }
        assert!(need_with(&LARGEST).unwrap().most > 2_000_000 << 30);
        for ((name, _), larger) in LARGEST.into_iter().zip(larger) {
            assert!(need_with(&[(name, larger)]).is_err(), "{name}");
        }
    }

    #[test]
    fn finds_the_narrowest_cgroup() {
        let mount = tempfile::tempdir().unwrap();
        let pod = mount.path().join("kubepods/pod1");
        let own = pod.join("agent");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("memory.max"), "max\n").unwrap();
        fs::write(pod.join("memory.max"), "134217728\n").unwrap();
        let found = limits(mount.path(), "kubepods/pod1/agent");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].bytes, 128 * MIB);
        assert!(found[0].of.ends_with("kubepods/pod1"), "{found:?}");
        assert_eq!(limits(mount.path(), ""), []);
    }

    #[test]
    fn says_what_is_missing() {
        let need = Need { least: 57 * MIB, most: 512 * MIB };
        let room = |mib| Room { bytes: mib * MIB, of: "are available on this host".into() };
        assert!(room(512).suffices(need).is_ok());
        let (problem, remedy) = room(100).suffices(need).unwrap_err();
        assert!(problem.ends_with("100 MiB are available on this host"), "{problem}");
        assert!(remedy.contains("capture.ring_bytes"), "{remedy}");
    }

    #[test]
    fn fails_only_where_not_even_the_ring_fits() {
        let need = Need { least: 57 * MIB, most: 512 * MIB };
        let judged = |mib| {
            let room = Room { bytes: mib * MIB, of: "are available on this host".into() };
            let probe = judge(&room, need);
            (probe.ok, probe.required)
        };
        assert_eq!(judged(56), (false, true), "a failure");
        assert_eq!(judged(57), (false, false), "a warning");
        assert_eq!(judged(511), (false, false), "a warning");
        assert_eq!(judged(512), (true, false));
    }

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:  24000000 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), Some(2 * MIB));
        assert_eq!(available("MemTotal:  1 kB\n"), None);
    }
}
