//! What is fuzzed.

mod capture;
mod config;
mod ledger;
mod message;
mod packets;
mod spool;

use crate::corpus::Corpus;
pub use packets::Step;

/// Something that reads octets of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One DNS message.
    Message,
    /// Packets and time: fragments, TCP, DNS, pairing, records.
    Packets,
    /// Capture files, compressed ones too, through the whole pipeline.
    Capture,
    /// The configuration, from a file or from the environment.
    Config,
    /// What a disk has made of the spool.
    Spool,
    /// Records as `ledger verify` reads them back.
    Ledger,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 6] =
        [Self::Message, Self::Packets, Self::Capture, Self::Config, Self::Spool, Self::Ledger];

    /// The target's name on the command line, and of its folder of inputs.
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

    /// The target of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// What to say to a name that is none.
    #[must_use]
    pub fn unknown(name: &str) -> String {
        let names = Self::ALL.map(Self::name).join(", ");
        format!("\"{name}\" is no fuzz target: choose one of {names}")
    }

    /// Reads the octets.
    ///
    /// # Panics
    /// Where the agent breaks a promise.
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

    /// Inputs to begin with.
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

/// A folder that vanishes, in memory where the system offers that.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::Builder::new().prefix("dnscribe-fuzz-").tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap_or_else(|error| {
        eprintln!("error: there is no room for temporary files: {error}");
        std::process::exit(2)
    })
}
