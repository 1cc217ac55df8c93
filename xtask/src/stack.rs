//! `stack`: the whole system around the agent for development, in the background.

use crate::interrupt::Interrupt;
use crate::process::become_root;
use crate::{build, console, setup};
use anyhow::{Result, bail};
use dnscribe_tests::stack::{Component, Stack, demo, jobs};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `stack`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Start Kafka, Flink and the stores, submit the jobs, and print the addresses
    Up(UpArgs),
    /// Print the address of each component
    Status(StatusArgs),
    /// Kill Flink's task manager and start another
    RestartTaskManager,
    /// Stop everything and remove the data
    Down,
}

#[derive(clap::Args, Debug)]
struct UpArgs {
    /// Components to start [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = component)]
    with: Vec<Component>,
    /// Also start a DNS lab with load, and an agent that captures it, so that rows flow
    #[arg(long)]
    demo: bool,
}

#[derive(clap::Args, Debug)]
struct StatusArgs {
    /// Format of the output
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    let mut stack = Stack::open(&folder())?;
    match &args.action {
        Action::Up(args) => up(&mut stack, args),
        Action::Status(args) => {
            if args.output == "json" {
                console::result(&stack.addresses().to_string());
            } else {
                for component in Component::ALL {
                    print(&stack, component);
                }
            }
            Ok(())
        }
        Action::RestartTaskManager => stack.restart_task_manager(),
        Action::Down => {
            stack.down()?;
            console::progress("the stack is stopped");
            Ok(())
        }
    }
}

fn folder() -> PathBuf {
    environment::target().join("stack")
}

/// Starts the components and the jobs. A component that cannot be started does not keep the others from it.
fn up(stack: &mut Stack, args: &UpArgs) -> Result<()> {
    let wanted = |component: &Component| args.with.is_empty() || args.with.contains(component);
    let components: Vec<Component> = Component::ALL.into_iter().filter(wanted).collect();
    let mut commands: Vec<String> = components
        .iter()
        .map(|component| format!("stack up --with {}", component.name()))
        .collect();
    if args.demo {
        commands.push("stack up --demo".to_owned());
    }
    // Their programs are downloaded when they start, so that one that is not available does not keep the others from it.
    setup::install_packages(&commands)?;
    if args.demo {
        build::quick()?;
        become_root("capturing")?;
    }
    let start = Instant::now();
    let interrupt = Interrupt::listen()?;
    let mut failed = Vec::new();
    for component in components {
        let begun = Instant::now();
        let was_running = stack.runs(component);
        if let Err(error) = stack.start(component) {
            console::progress(&format!("{}: cannot start: {error:#}", component.name()));
            failed.push(component.name());
        } else if !was_running {
            console::progress(&format!("{} is up after {:.1?}", component.name(), begun.elapsed()));
        }
        interrupt.check()?;
    }
    if [Component::Kafka, Component::Flink].into_iter().all(|component| stack.runs(component)) {
        jobs::submit(stack, &json!({}))?;
    }
    if args.demo {
        stack.start_demo()?;
    }
    for component in Component::ALL {
        print(stack, component);
    }
    if args.demo {
        print_demo(stack);
    }
    console::progress(&format!("the stack is up after {:.1?}", start.elapsed()));
    if !failed.is_empty() {
        bail!("without {}", failed.join(", "));
    }
    Ok(())
}

/// Prints what a new user can ask about the traffic of the demo.
fn print_demo(stack: &Stack) {
    if let Some(agent) = stack.agent() {
        console::result(&format!("{:<12} {agent}", "agent"));
    }
    let minutes = demo::DURATION.as_secs() / 60;
    console::result(&format!(
        "\nQueries are sent for {minutes} minutes. Rows appear within a minute; ask for them:"
    ));
    let text = |component| stack.address(component).and_then(|url| Some(url.as_str()?.to_owned()));
    if let Some(url) = text(Component::ClickHouse) {
        console::result(&format!(
            "  curl '{url}/?database=dns' -d 'SELECT qname, status, rcode, count() FROM dns_transactions FINAL \
             GROUP BY ALL ORDER BY count() DESC FORMAT PrettyCompact'"
        ));
    }
    if let Some(brokers) = text(Component::Kafka) {
        console::result(&format!("  kcat -b {brokers} -C -t dns.enriched -o -1 -c 1"));
        let mut stores: Vec<String> =
            [Component::TimescaleDb, Component::ClickHouse].into_iter().filter_map(text).collect();
        if let Some(influxdb) = stack.address(Component::InfluxDb) {
            let [url, org, bucket, token] =
                ["url", "org", "bucket", "token"].map(|name| influxdb[name].as_str().unwrap_or(""));
            stores.push(format!("'influx:{url}/?org={org}&bucket={bucket}&token={token}'"));
        }
        let stores: String = stores.iter().map(|url| [" --store ", url].concat()).collect();
        console::result(&format!(
            "  {} ledger verify --brokers {brokers}{stores}",
            shell::quote(build::path("dnscribe", "quick"))
        ));
    }
    if let Some(url) = text(Component::Prometheus) {
        console::result(&format!("  {url}/graph?g0.expr=rate(dns_transactions_total[1m])"));
    }
    let grafana = dnscribe_tests::grafana::folder();
    console::result(&format!(
        "\nGrafana: mount {0}/provisioning at /etc/grafana/provisioning and {0}/dashboards at\n\
         /etc/dnscribe/grafana/dashboards, set the addresses above as docs/dashboards.md says, and open\n  \
         http://127.0.0.1:3000/d/dnscribe-noc\n",
        grafana.display()
    ));
    console::result("  cargo xtask stack down");
}

fn print(stack: &Stack, component: Component) {
    let address = match stack.address(component) {
        Some(Value::String(address)) => address,
        Some(other) => other.to_string(),
        None => "not running".to_owned(),
    };
    console::result(&format!("{:<12} {address}", component.name()));
}

fn component(name: &str) -> Result<Component, String> {
    Component::ALL.into_iter().find(|component| component.name() == name).ok_or_else(|| {
        let names = Component::ALL.map(Component::name);
        format!("no such component; there are {}", names.join(", "))
    })
}
