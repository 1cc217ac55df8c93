//! Commands of pages that need `dnscribe-kpi` only.

use super::{Command, End, Executor, Terminal, blocks, read};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// Where the pages have the API.
const API: &str = "http://127.0.0.1:9356";

/// Runs the commands of pages about KPIs with this program, page by page, each in a folder of its own that has the files of the page
/// about them. Needs root, for a network without other servers.
///
/// # Errors
/// The first command that fails.
pub fn run_kpi_commands(program: &Path) -> Result<()> {
    let commands = Executor::Kpi.commands()?;
    ensure!(commands.len() > 9, "{} commands", commands.len());
    for commands in commands.chunk_by(|one, next| one.page == next.page) {
        let terminal = terminal(program)?;
        for command in commands {
            let output = terminal.run(&with_server(command), End::Code(&[0]))?;
            if command.text.contains("curl ") {
                ensure!(output.contains("\"value\""), "{}: {output}", command.text);
            }
        }
    }
    Ok(())
}

fn terminal(program: &Path) -> Result<Terminal> {
    let mut terminal = Terminal::new()?;
    terminal.add_program(program)?;
    let alone = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    terminal.prefix = alone.map(str::to_owned).to_vec();
    // A year takes minutes.
    let days = ("--days 365".to_owned(), "--days 65 --registrations 4".to_owned());
    terminal.replacements.push(days);
    let page = read("kpi")?;
    for (name, language, start) in [
        ("orders.csv", "csv", "Order,"),
        ("shop.yaml", "yaml", "version: 1\ncolumns:"),
        ("accounts.csv", "text", "account_id,"),
    ] {
        let block = blocks(&page, language).into_iter().find(|block| block.starts_with(start));
        terminal.write(name, block.with_context(|| format!("docs/kpi.md has no {name}"))?)?;
    }
    Ok(terminal)
}

/// Returns a command that waits until the server of the page answers: one that it starts, or one beside it.
fn with_server(command: &Command) -> Command {
    let text = command.plain();
    let wait =
        format!("curl --retry 30 --retry-delay 1 --retry-connrefused -sS -o /dev/null {API}/; ");
    let in_front = text.ends_with(" demo") || text.contains(" serve");
    let server = text.strip_suffix('&').or_else(|| in_front.then_some(text));
    let text = if let Some(server) = server {
        format!("{server} & {wait} kill $!")
    } else if text.contains(API) {
        format!("dnscribe-kpi --data kpi serve --no-auth & {wait} {text}; kill $!")
    } else {
        text.to_owned()
    };
    Command { text, ..command.clone() }
}
