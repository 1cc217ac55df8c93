//! `dnscribe top` on live traffic and a real terminal.

use crate::support::{Client, lab};
use dnscribe_tests::environment;
use dnscribe_tests::lab::Lab;
use dnscribe_tests::shell;
use dnscribe_tests::tmux::{Terminal, TerminalState};
use rustix::process::Signal;

/// Text that `sh` prints when the program has ended.
const ENDED: &str = "ended with";

fn top(size: (u16, u16)) -> Terminal {
    let binary = environment::binary().unwrap();
    // A short query timeout, because the test has a silent server.
    let script = format!("{} top --query-timeout 500ms; echo {ENDED} $?", shell::quote(binary));
    let terminal = Terminal::start(size, &script).unwrap();
    terminal.wait_for("the view", |text| text.contains("[1 Resolvers]")).unwrap();
    terminal
}

/// Sends queries with answers, failures and timeouts.
fn traffic(lab: &Lab, silent: &mut Client) {
    for question in [["www.example.com", "A"], ["no-such-name.example.com", "A"]] {
        lab.dig(&question).unwrap();
    }
    silent.ask("silence.wild.example.com");
}

fn line<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    text.lines().find(|line| line.contains(part))
}

#[test]
fn drills_down_from_silent_resolver_to_process() {
    let Some((lab, _alone)) = lab() else { return };
    let terminal = top((80, 24));
    let dead = lab.blackhole_addr().to_string();
    let mut silent = Client::start(&lab, "connected", lab.blackhole_addr());
    traffic(&lab, &mut silent);
    let is_dead = |line: &str| line.starts_with("!!") && line.contains(" 100 ");
    terminal.wait_for("a dead resolver", |text| line(text, &dead).is_some_and(is_dead)).unwrap();

    // Other programs on this host may send queries: the test uses the lab's resolver only.
    terminal.press(&["/"]).unwrap();
    terminal.type_text(&dead).unwrap();
    terminal.wait_for("the filter", |text| text.contains(&format!("filter: {dead}"))).unwrap();
    terminal.press(&["Enter", "Enter"]).unwrap();
    let failing = |text: &str| {
        text.contains(&format!("{dead}, failing"))
            && line(text, "silence.wild.example").is_some_and(|line| line.contains("timeout"))
    };
    terminal.wait_for("its failing names", failing).unwrap();
    terminal.press(&["Enter"]).unwrap();
    let pid = silent.pid().to_string();
    let process = |text: &str| line(text, "dns-client").is_some_and(|line| line.contains(&pid));
    terminal.wait_for("the process", process).unwrap();
    // Leaves both drill-downs and the filter.
    terminal.press(&["Escape"]).unwrap();
    terminal.wait_for("the names again", failing).unwrap();
    terminal.press(&["Escape"]).unwrap();
    terminal.wait_for("the resolvers", |text| text.contains("Esc drops filter")).unwrap();
    terminal.press(&["Escape"]).unwrap();
    let resolver = lab.resolver_addr().to_string();
    terminal.wait_for("both resolvers", |text| text.contains(&resolver)).unwrap();

    let pages = [
        ("2", "[2 Zones]", "example.com"),
        ("3", "[3 Names]", "silence.wild.example"),
        ("4", "[4 Processes]", "dns-client"),
        ("5", "[5 Rcodes]", "timeout"),
        ("6", "[6 Alerts", "SUMMARY"),
        ("7", "[7 Loss]", "every packet is accounted for"),
    ];
    for (key, title, content) in pages {
        terminal.press(&[key]).unwrap();
        terminal.wait_for(title, |text| text.contains(title) && text.contains(content)).unwrap();
    }

    terminal.press(&["q"]).unwrap();
    terminal.wait_for("the end", |text| text.contains(&format!("{ENDED} 0"))).unwrap();
    assert_eq!(terminal.state().unwrap(), TerminalState::INITIAL);
}

#[test]
fn large_screen_is_restored_at_sigterm() {
    let Some((lab, _alone)) = lab() else { return };
    let terminal = top((200, 50));
    let mut silent = Client::start(&lab, "connected", lab.blackhole_addr());
    traffic(&lab, &mut silent);
    let dead = lab.blackhole_addr().to_string();
    let all = ["queries per second", "QUERIES", "RETRIES", "HISTORY", &dead];
    terminal
        .wait_for("chart and columns", |text| all.iter().all(|part| text.contains(part)))
        .unwrap();
    terminal.wait_for("the lower level", |text| text.contains(": what fails")).unwrap();

    terminal.press(&["5", "t", "p"]).unwrap();
    let held = terminal.wait_for("a held screen", |text| text.contains("PAUSED")).unwrap();
    traffic(&lab, &mut silent);
    // Long enough for several frames.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let rows = |text: &str| text.lines().take(49).collect::<Vec<_>>().join("\n");
    assert_eq!(rows(&terminal.text().unwrap()), rows(&held));
    terminal.press(&["p"]).unwrap();
    terminal
        .wait_for("the agent to continue", |text| {
            !text.contains("PAUSED") && rows(text) != rows(&held)
        })
        .unwrap();

    terminal.resize((50, 8)).unwrap();
    terminal.wait_for("the size message", |text| text.contains("needs 60x10: 50x8")).unwrap();
    terminal.resize((132, 43)).unwrap();
    terminal.wait_for("the view again", |text| text.contains("[5 Rcodes]")).unwrap();

    assert!(terminal.state().unwrap().alternate_screen);
    shell::signal_pid(terminal.program().unwrap(), Signal::TERM).unwrap();
    terminal.wait_for("the end", |text| text.contains(&format!("{ENDED} 0"))).unwrap();
    assert_eq!(terminal.state().unwrap(), TerminalState::INITIAL);
}
