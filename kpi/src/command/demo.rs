//! `demo`: the whole path with the sample of a registrar, in one command.

use super::stopped;
use crate::access::Access;
use crate::api::Service;
use crate::cli::{Cli, DemoArgs};
use crate::dictionary::Dictionary;
use crate::import::{self, Request};
use crate::input::Format;
use crate::privacy::Policy;
use crate::sample::{self, Plan};
use crate::sources::Sources;
use crate::store::Store;
use crate::values::Detail;
use crate::{compute, engine, facts, server};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

/// Writes the sample, imports it, computes, and serves the page until it is asked to end. Without `--data` all of it is removed then.
pub async fn demo(cli: &Cli, dictionary: Dictionary, args: &DemoArgs) -> Result<(), Exit> {
    if !args.listen.ip().is_loopback() {
        return Err(Exit::usage(format!("{}: not a loopback address", args.listen)));
    }
    let fail = |error: std::io::Error| Exit::failed(format!("cannot write the sample: {error}"));
    let folder = tempfile::tempdir().map_err(fail)?;
    let kept = folder.path().join("data").to_string_lossy().into_owned();
    let data = cli.data.clone().unwrap_or(kept);
    let store = Store::open(&data)?;
    let today = facts::epoch_day(facts::day_of(crate::clock::now().as_microsecond()));
    let plan = Plan {
        seed: 1,
        from: crate::rows::date(today - i32::from(args.days)),
        days: i32::from(args.days),
        registrations: args.registrations,
        is_hostile: true,
    };
    let path = folder.path().join("sample.ndjson");
    let mut file = BufWriter::new(File::create(&path).map_err(fail)?);
    sample::write(plan, Format::Json, &mut file)?;
    file.flush().map_err(fail)?;
    print(&format!(
        "dnscribe-kpi sample: {} days of a registrar, in {}\n",
        args.days,
        path.display()
    ))?;
    let (policy, sources) = (Policy::default(), Sources::default());
    let request = Request::new("sample.ndjson", &policy, &sources);
    let imported = import::import(&store, &path, &request).await?;
    print(&format!(
        "dnscribe-kpi import: {}",
        super::import_text("sample.ndjson", &imported, super::OutputFormat::Text)
    ))?;
    print("dnscribe-kpi compute: a minute at most …\n")?;
    let request = compute::Request {
        from: None,
        to: None,
        is_final: true,
        from_all: false,
        memory: engine::MEMORY,
    };
    let outcome = compute::compute(&store, &dictionary, &sources, request).await?;
    print(&format!("dnscribe-kpi compute: {} days\n", outcome.days.map_or(0, |(.., days)| days)))?;
    let service = Service::open(store, dictionary, Access::open(), Detail::default()).await?;
    print(&format!("dnscribe-kpi serve: open http://{}/ (Ctrl-C ends it)\n", args.listen))?;
    server::serve(Arc::new(service), args.listen, None, stopped()?).await.map_err(Exit::from)
}
