//! Packet captures with dumpcap on a host of the lab: an independent reference for tests.

use super::{Host, Lab};
use crate::shell;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Longest time for which the kernel may hold the last packets before dumpcap reads them.
const SETTLE: Duration = Duration::from_secs(1);

/// A running dumpcap. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    dumpcap: Child,
    file: PathBuf,
}

impl Lab {
    /// Starts to capture the DNS packets on a host's interface; returns once the capture runs.
    pub fn capture(&self, host: Host) -> Result<Capture> {
        self.capture_of(host, "port 53")
    }

    /// Like [`Self::capture`], for the packets that match a filter.
    pub fn capture_of(&self, host: Host, filter: &str) -> Result<Capture> {
        let file = self.folder().join(format!("{}.pcapng", host.name()));
        // An old file would be taken as a sign that this capture has started.
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let path = file.display().to_string();
        let words = ["dumpcap", "-q", "-i", "eth0", "-B", "64", "-f", filter, "-w", &path];
        let mut command = self.command(host, &words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let dumpcap = command.spawn().context("cannot start dumpcap")?;
        let capture = Capture { dumpcap, file };
        // dumpcap creates its file after it has opened the socket.
        shell::wait_for("dumpcap's start", Duration::from_mins(1), || {
            Ok(fs::metadata(&capture.file).is_ok_and(|file| file.len() > 0).then_some(()))
        })?;
        Ok(capture)
    }
}

impl Capture {
    /// Ends the capture and returns the path of its file, which is removed with the lab.
    pub fn finish(mut self) -> Result<PathBuf> {
        thread::sleep(SETTLE);
        shell::signal(&self.dumpcap, Signal::INT)?;
        shell::wait(&mut self.dumpcap, Duration::from_secs(10))?;
        Ok(self.file.clone())
    }

    /// Ends the capture and returns the seconds from query to response of each pair, as tshark
    /// computes them.
    pub fn latencies(self) -> Result<Vec<f64>> {
        let file = self.finish()?;
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file).args(["-Y", "dns.time", "-T", "fields", "-e", "dns.time"]);
        let output = shell::output(&mut tshark)?;
        String::from_utf8(output.stdout)?
            .split_whitespace()
            // One packet may hold several responses.
            .flat_map(|times| times.split(','))
            .map(|time| time.parse().with_context(|| format!("tshark's time {time}")))
            .collect()
    }
}

/// Returns the seconds from query to response by name, as tshark computes them, for a capture in
/// which each name is queried once over UDP.
pub fn dns_times(file: &Path) -> Result<BTreeMap<String, f64>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-Y", "dns.time && udp", "-T", "fields"]);
    tshark.args(["-e", "dns.qry.name", "-e", "dns.time"]);
    let text = String::from_utf8(shell::output(&mut tshark)?.stdout)?;
    text.lines()
        .map(|line| {
            let (name, time) = line.split_once('\t').with_context(|| format!("tshark: {line}"))?;
            Ok((name.to_owned(), time.parse()?))
        })
        .collect()
}

impl Drop for Capture {
    fn drop(&mut self) {
        shell::end(&mut self.dumpcap);
    }
}
