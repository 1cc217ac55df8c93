//! `pictures`: takes screenshots of `dnscribe top` in a lab, as text and SVG, for the documentation.

mod svg;

use crate::cgroup::Cgroup;
use crate::process::{become_root, cargo};
use crate::{console, setup};
use anyhow::{Context as _, Result};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::tmux::Terminal;
use dnscribe_tests::{environment, shell};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Duration of traffic before the first screenshot: the charts are 60 seconds wide.
const WARM_UP: Duration = Duration::from_secs(75);
/// Longest duration of traffic.
const LIMIT: Duration = Duration::from_secs(240);
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

/// Runs the command: writes the screenshots to `docs/top` and into `docs/top.md`.
pub fn main() -> Result<()> {
    setup::install(&["pictures"])?;
    shell::pass_through(cargo().args(["build", "--package", "dnscribe"]))?;
    let binary = environment::target().join("debug/dnscribe");
    become_root("capturing")?;
    console::progress("pictures: generating traffic in a lab, some minutes");
    // Other processes on this host must not appear in the documentation.
    let cgroup = Cgroup::enter("pictures")?;
    let lab = Lab::up()?;
    let _traffic = TrafficSources::start(&lab)?;
    let script = format!("{} top --cgroup {}", shell::quote(binary), shell::quote(cgroup.path()));
    let small = Terminal::start(SMALL, &script)?;
    let large = Terminal::start(LARGE, &script)?;
    thread::sleep(WARM_UP);
    let dead = lab.blackhole_addr().to_string();
    let screenshots: [(&str, &Terminal, &[&str]); 6] = [
        ("resolvers", &small, &[]),
        ("large", &large, &["t", "t"]),
        ("failing", &small, &["/", &dead, "Enter", "Enter"]),
        ("asking", &small, &["Enter"]),
        ("processes", &small, &["4"]),
        ("loss", &small, &["7"]),
    ];
    for (name, terminal, keys) in screenshots {
        if !keys.is_empty() {
            terminal.press(keys)?;
        }
        // Until the frame after the one that handled the keys.
        thread::sleep(Duration::from_millis(1200));
        save(name, terminal)?;
    }
    for terminal in [&small, &large] {
        terminal.press(&["q"])?;
        terminal.wait_for("its own screen again", |text| !text.contains("dnscribe top"))?;
    }
    Ok(())
}

/// Writes a screenshot as SVG, and its text into the page.
fn save(name: &str, terminal: &Terminal) -> Result<()> {
    let folder = environment::workspace().join("docs/top");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.svg"));
    fs::write(&path, svg::render(&terminal.coloured()?))?;
    let page = environment::workspace().join("docs/top.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    fs::write(&page, replace_frame(&text, name, &terminal.text()?))?;
    console::progress(&format!("pictures: {name}"));
    Ok(())
}

/// Returns the page with `frame` in the text block after `<!-- frame NAME -->`; unchanged if there is no such
/// block.
fn replace_frame(page: &str, name: &str, frame: &str) -> String {
    let mark = format!("<!-- frame {name} -->\n```text\n");
    let Some((before, rest)) = page.split_once(&mark) else { return page.to_owned() };
    let Some((_, after)) = rest.split_once("```\n") else { return page.to_owned() };
    let lines: Vec<&str> = frame.lines().map(str::trim_end).collect();
    format!("{before}{mark}{}\n```\n{after}", lines.join("\n"))
}

/// Processes that send queries in the lab; ended when dropped.
struct TrafficSources(Vec<Child>);

impl TrafficSources {
    /// Starts much successful traffic to two servers, and a little to a dead server and to a closed port.
    fn start(lab: &Lab) -> Result<Self> {
        let limit = LIMIT;
        let load = |qps, load: Load| Load { queries: 200_000, qps: Some(qps), limit, ..load };
        let mut sources = Self(Vec::new());
        let (resolver, server) = (lab.resolver_addr(), lab.server_addr());
        sources.0.push(lab.start_dnsperf(Host::Client, resolver, &load(300, Load::mixed()))?);
        let single =
            load(40, Load { questions: vec!["www.example.com A".into()], ..Load::default() });
        sources.0.push(lab.start_dnsperf(Host::Client, server, &single)?);
        let asks = [
            format!(
                "kdig +retry=0 +timeout=1 @{} payments.example.com >/dev/null",
                lab.blackhole_addr()
            ),
            format!("dig +tries=1 +time=1 @{} ldap.example.com >/dev/null", lab.closed_addr()),
        ];
        for ask in asks {
            let script = format!("while :; do {ask}; sleep 0.2; done");
            let mut command: Command = lab.command(Host::Client, &["sh", "-c", &script]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            sources.0.push(command.spawn()?);
        }
        Ok(sources)
    }
}

impl Drop for TrafficSources {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(shell::end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_the_named_frame() {
        let page =
            "a\n<!-- frame x -->\n```text\nold\n```\nb\n<!-- frame y -->\n```text\nold\n```\n";
        let expected =
            "a\n<!-- frame x -->\n```text\nnew  1\n```\nb\n<!-- frame y -->\n```text\nold\n```\n";
        assert_eq!(replace_frame(page, "x", "new  1   \n"), expected);
        assert_eq!(replace_frame(page, "z", "new"), page);
    }
}
