//! Architectures that the agent is released for, and the names that other programs give them.

use anyhow::{Context as _, Result};
use clap::ValueEnum;

/// A CPU architecture. The command line uses the names of Debian and Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// 64-bit x86
    Amd64,
    /// 64-bit Arm
    Arm64,
}

impl Architecture {
    /// Returns the architecture of this machine.
    ///
    /// # Errors
    /// If the agent does not support it.
    pub fn host() -> Result<Self> {
        let machine = std::env::consts::ARCH;
        let known = Self::value_variants().iter().find(|it| it.machine() == machine).copied();
        known.with_context(|| format!("{machine} is not supported: use x86_64 or aarch64"))
    }

    /// Whether this is another architecture than that of this machine.
    pub fn is_foreign(self) -> bool {
        self.machine() != std::env::consts::ARCH
    }

    /// Name in Debian and in container images.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Name in the kernel, Rust, rpm and QEMU.
    pub const fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Target triple of rustc.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// Name in GNU's compilers and in Debian's library folders.
    pub const fn gnu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// Path of the dynamic loader, without the leading slash.
    pub const fn loader(self) -> &'static str {
        match self {
            Self::Amd64 => "lib64/ld-linux-x86-64.so.2",
            Self::Arm64 => "lib/ld-linux-aarch64.so.1",
        }
    }
}
