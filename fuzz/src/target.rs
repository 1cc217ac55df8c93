//! The list of fuzz targets.

mod capture;
mod config;
mod ledger;
mod message;
mod packets;
mod spool;

use crate::corpus::Corpus;
pub use packets::ScriptStep;

/// A part of the agent that reads bytes from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The DNS reader parses one message.
    Message,
    /// The pipeline processes packets over time: fragments, TCP, DNS, pairing, records.
    Packets,
    /// The pipeline replays capture files, compressed ones too.
    Capture,
    /// The configuration is loaded from a file or from the environment.
    Config,
    /// The spool reads files that a disk has damaged.
    Spool,
    /// `ledger verify` reads records.
    Ledger,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 6] =
        [Self::Message, Self::Packets, Self::Capture, Self::Config, Self::Spool, Self::Ledger];

    /// Returns the target's name on the command line and of its input folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Packets => "packets",
            Self::Capture => "capture",
            Self::Config => "config",
            Self::Spool => "spool",
            Self::Ledger => "ledger",
        }
    }

    /// Returns the target with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Returns the error message for an unknown name.
    #[must_use]
    pub fn unknown(name: &str) -> String {
        let names = Self::ALL.map(Self::name).join(", ");
        format!("\"{name}\" is not a fuzz target; choose one of {names}")
    }

    /// Runs the target with one input.
    ///
    /// # Panics
    /// An invariant of the agent is broken.
    pub fn run(self, data: &[u8]) {
        match self {
            Self::Message => message::run(data),
            Self::Packets => packets::run(data),
            Self::Capture => capture::run(data),
            Self::Config => config::run(data),
            Self::Spool => spool::run(data),
            Self::Ledger => ledger::run(data),
        }
    }

    /// Returns the initial inputs.
    #[must_use]
    pub fn seeds(self, corpus: &Corpus) -> Vec<Vec<u8>> {
        match self {
            Self::Message => corpus.messages.clone(),
            Self::Packets => packets::seeds(&corpus.messages),
            Self::Capture => capture::seeds(corpus),
            Self::Config => config::seeds(),
            Self::Spool => spool::seeds(),
            Self::Ledger => ledger::seeds(),
        }
    }
}

/// Creates a temporary folder, in memory if possible.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::Builder::new().prefix("dnscribe-fuzz-").tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap_or_else(|error| {
        eprintln!("error: cannot create a temporary folder: {error}");
        std::process::exit(2)
    })
}
