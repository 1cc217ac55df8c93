//! `erase`.

use crate::cli::{EraseArgs, OutputFormat};
use crate::erase::{self, Erased, Request};
use crate::privacy::Policy;
use crate::store::Store;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use serde_json::json;
use std::fmt::Write as _;

/// Erases persons, or lists when that was done.
pub(super) async fn erase(store: &Store, args: &EraseArgs) -> Result<(), Exit> {
    if args.list {
        return list(store, args.output).await;
    }
    let policies = args.policies.iter().map(|path| Policy::read(path));
    let mut policies = policies.collect::<Result<Vec<_>, _>>()?;
    if policies.is_empty() {
        policies.push(Policy::default());
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    let (accounts, domains) = (&args.accounts, &args.domains);
    let request = Request { accounts, domains, policies: &policies, reason };
    let erased = erase::erase(store, &request).await?;
    let Erased { subjects, facts, raw_rows, unsettled, unknown } = erased;
    for name in &unknown {
        tracing::warn!("{name}: no fact and no row has this name");
    }
    if unsettled > 0 {
        tracing::warn!(
            "{unsettled} files are of imports that are at work or have failed: erase again once they have ended, or tomorrow"
        );
    }
    if args.output == OutputFormat::Json {
        let line = json!({ "subjects": subjects, "facts": facts, "raw_rows": raw_rows, "unsettled": unsettled,
            "unknown": unknown.len() });
        return print(&format!("{line}\n"));
    }
    print(&format!(
        "{subjects} accounts and domains: {facts} rows of facts have pseudonyms now, {raw_rows} rows as they came cannot be \
         read any more\n"
    ))
}

async fn list(store: &Store, output: OutputFormat) -> Result<(), Exit> {
    let mut page = String::new();
    for erasure in store.state().await?.erasures {
        // Writing to a string cannot fail.
        let _ = if output == OutputFormat::Json {
            writeln!(page, "{}", json!(erasure))
        } else {
            let crate::store::Erasure { at, reason, subjects, facts, raw_rows } = erasure;
            writeln!(
                page,
                "{at}: {subjects} accounts and domains, {facts} rows of facts, {raw_rows} rows as they came: {reason}"
            )
        };
    }
    print(&page)
}
