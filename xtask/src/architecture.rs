//! The architectures that the agent is handed out for, and their names.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

/// An architecture; its name on the command line is Debian's and Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// 64-bit x86
    Amd64,
    /// 64-bit Arm
    Arm64,
}

impl Architecture {
    /// That of this machine.
    pub fn here() -> Result<Self> {
        let machine = std::env::consts::ARCH;
        let known = Self::value_variants().iter().find(|it| it.machine() == machine).copied();
        known.with_context(|| format!("this works on x86_64 and aarch64, not on {machine}"))
    }

    /// Whether it is not that of this machine.
    pub fn is_foreign(self) -> bool {
        self.machine() != std::env::consts::ARCH
    }

    /// What Debian and container images call it.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What the kernel, Rust, rpm and QEMU call it.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// What rustc calls it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// What GNU's compilers call it, and Debian its folders of libraries.
    pub const fn gnu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// The dynamic loader.
    pub const fn loader(self) -> &'static str {
        match self {
            Self::Amd64 => "lib64/ld-linux-x86-64.so.2",
            Self::Arm64 => "lib/ld-linux-aarch64.so.1",
        }
    }
}
