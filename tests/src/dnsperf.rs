//! Load generation with dnsperf, and reading of its report.

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Child;
use std::str::FromStr;
use std::time::Duration;

/// Parameters of a load, bounded in count and in time.
#[derive(Clone, Debug)]
pub struct Load {
    /// Number of queries; each asks for a distinct name.
    pub queries: u32,
    /// Maximum queries per second; `None` for as fast as answers arrive.
    pub qps: Option<u32>,
    /// Port of the server.
    pub port: u16,
    /// Whether TCP is used instead of UDP.
    pub tcp: bool,
    /// Number of client sockets.
    pub clients: u32,
    /// Maximum number of outstanding queries.
    pub outstanding: u32,
    /// Suffix of the names `nN.SUFFIX`. The lab answers every name under `wild.example.com`.
    pub suffix: String,
    /// Questions to send in turn, as `NAME TYPE`, instead of those names.
    pub questions: Vec<String>,
    /// Whether dnsperf reports each query: see [`latencies`].
    pub verbose: bool,
    /// Time limit for an answer.
    pub timeout: Duration,
    /// Time limit for the run.
    pub limit: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            queries: 1000,
            qps: None,
            port: 53,
            tcp: false,
            clients: 4,
            outstanding: 100,
            suffix: "wild.example.com".to_owned(),
            questions: Vec::new(),
            verbose: false,
            timeout: Duration::from_secs(5),
            limit: Duration::from_mins(1),
        }
    }
}

/// Results that dnsperf reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DnsperfReport {
    /// Queries sent.
    pub sent: u64,
    /// Queries answered in time.
    pub completed: u64,
    /// Queries that timed out.
    pub lost: u64,
    /// Duration of the run in seconds.
    pub run_time_seconds: f64,
    /// Queries completed per second.
    pub qps: f64,
    /// Mean latency, in seconds.
    pub mean_latency_seconds: f64,
    /// Standard deviation of the latency, in seconds.
    pub latency_stddev_seconds: f64,
}

impl Load {
    /// A load with every type that the lab answers, and some that it does not.
    #[must_use]
    pub fn mixed() -> Self {
        let questions = [
            "www.example.com A",
            "www.example.com AAAA",
            "example.com MX",
            "alias.example.com A",
            "many.example.com A",
            "brief.example.com A",
            "no-such-name.example.com A",
            "v6only.example.com A",
            "svc.example.com HTTPS",
            "_dns._udp.example.com SRV",
            "example.com TXT",
            "no-such-zone.com A",
        ];
        Self { questions: questions.map(Into::into).into(), ..Self::default() }
    }

    /// Returns dnsperf's data file: one question per line.
    #[must_use]
    pub fn data(&self) -> String {
        let mut data = String::new();
        let mut questions = self.questions.iter().cycle();
        for number in 0..self.queries {
            // Writing to a string cannot fail.
            let _ = match questions.next() {
                Some(question) => writeln!(data, "{question}"),
                None => writeln!(data, "n{number}.{} A", self.suffix),
            };
        }
        data
    }

    /// Returns the command line that sends this load to a server.
    #[must_use]
    pub fn command(&self, server: std::net::IpAddr, names: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["dnsperf", "-n", "1", "-T", "1", "-s"].map(Into::into).into();
        words.push(server.to_string());
        words.extend(["-p".into(), self.port.to_string()]);
        words.extend(["-d".into(), names.display().to_string()]);
        words.extend(["-m".into(), if self.tcp { "tcp" } else { "udp" }.into()]);
        words.extend(["-c".into(), self.clients.to_string()]);
        words.extend(["-q".into(), self.outstanding.to_string()]);
        words.extend(["-t".into(), self.timeout.as_secs().max(1).to_string()]);
        words.extend(["-l".into(), self.limit.as_secs().max(1).to_string()]);
        if self.verbose {
            words.push("-v".into());
        }
        if let Some(qps) = self.qps {
            words.extend(["-Q".into(), qps.to_string()]);
        }
        words
    }
}

impl DnsperfReport {
    /// Waits for the end of a started dnsperf, and reads its report.
    pub fn wait(running: Child) -> Result<Self> {
        let output = running.wait_with_output().context("dnsperf")?;
        Self::parse(&String::from_utf8(output.stdout)?)
    }

    /// Parses dnsperf's closing statistics.
    pub fn parse(report: &str) -> Result<Self> {
        Ok(Self {
            sent: figure(report, "Queries sent:")?,
            completed: figure(report, "Queries completed:")?,
            lost: figure(report, "Queries lost:")?,
            run_time_seconds: figure(report, "Run time (s):")?,
            qps: figure(report, "Queries per second:")?,
            mean_latency_seconds: figure(report, "Average Latency (s):")?,
            latency_stddev_seconds: figure(report, "Latency StdDev (s):")?,
        })
    }
}

/// Returns the latency of each query in seconds, by name, from lines such as `> NOERROR
/// www.example.com A 0.000123`.
pub fn latencies(report: &str) -> Result<BTreeMap<String, f64>> {
    report
        .lines()
        .filter_map(|line| line.strip_prefix("> ").filter(|line| !line.starts_with("T ")))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, name, .., seconds] = words[..] else { bail!("dnsperf: {line}") };
            Ok((name.to_owned(), seconds.parse().with_context(|| format!("dnsperf: {line}"))?))
        })
        .collect()
}

/// Returns the number that follows a label in dnsperf's report.
fn figure<T: FromStr>(report: &str, label: &str) -> Result<T> {
    report
        .lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no `{label}` in dnsperf's report:\n{report}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_report() {
        let perf = DnsperfReport::parse(
            "Statistics:\n\n  Queries sent:         1000\n  Queries completed:    998 (99.80%)\n  \
             Queries lost:         2 (0.20%)\n\n  Response codes:       NOERROR 998 (100.00%)\n  \
             Run time (s):         0.050000\n  Queries per second:   19960.0\n\n  \
             Average Latency (s):  0.000133 (min 0.000042, max 0.000911)\n  \
             Latency StdDev (s):   0.000021\n",
        )
        .unwrap();
        assert_eq!((perf.sent, perf.completed, perf.lost), (1000, 998, 2));
        assert!((perf.mean_latency_seconds - 0.000_133).abs() < 1e-12);
        assert!((perf.qps - 19960.0).abs() < 1e-9);
    }

    #[test]
    fn parses_latency_of_each_query() {
        let report = "> NOERROR n0.t.example.com A 0.000210\n> T n1.t.example.com\n[Status] done\n";
        let latencies = latencies(report).unwrap();
        assert_eq!(latencies.len(), 1);
        assert!((latencies["n0.t.example.com"] - 0.000_21).abs() < 1e-12);
    }

    #[test]
    fn rejects_report_without_numbers() {
        assert!(DnsperfReport::parse("Status: Sending queries").is_err());
    }

    #[test]
    fn data_has_distinct_names() {
        let load = Load { queries: 3, suffix: "t.example.com".into(), ..Load::default() };
        assert_eq!(load.data(), "n0.t.example.com A\nn1.t.example.com A\nn2.t.example.com A\n");
    }
}
