//! `dnscribe replay`: capture files, or the messages of a topic, through the pipeline again.

mod raw;
mod topic;

use crate::cli::ReplayArgs;
use dnscribe_agent::session::{Prepared, replay};
use dnscribe_cli::exit::Exit;
use std::path::PathBuf;

/// Replays the files in the order given, or a topic.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), Exit> {
    let is_topic = |file: &PathBuf| file.as_os_str().as_encoded_bytes().starts_with(b"kafka://");
    if let Some(url) = args.files.iter().find(|file| is_topic(file)) {
        if args.files.len() > 1 {
            let problem = "a topic cannot be replayed together with other inputs";
            return Err(Exit::usage(problem).with_remedy("replay one after another"));
        }
        return topic::replay(args, &url.to_string_lossy());
    }
    replay::files(&args.files, Prepared::new(args.sources())?.open()?, None)
}
