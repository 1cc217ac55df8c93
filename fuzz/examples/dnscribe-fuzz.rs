//! The libFuzzer program. libFuzzer provides `main`, this crate the targets.
//!
//! `FUZZ_TARGET` names the target. If `FUZZ_SEEDS` is set, the target's seeds are written to that
//! folder before libFuzzer reads its corpus, which is the same folder.

#![no_main]

use dnscribe_fuzz::{Target, corpus};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;
use std::{env, process};

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: prepare(), |data: &[u8]| {
    if let Some(target) = TARGET.get() {
        target.run(data);
    }
});

fn prepare() {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = Target::named(&name) else { fail(&Target::unknown(&name)) };
    if let Some(folder) = env::var_os("FUZZ_SEEDS")
        && let Err(error) = corpus::write_seeds(target, Path::new(&folder))
    {
        fail(&format!("cannot write the seeds to {}: {error:#}", Path::new(&folder).display()));
    }
    TARGET.get_or_init(|| target);
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    process::exit(2);
}
