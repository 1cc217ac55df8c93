//! A guest from its start to its end.

use super::Layout;
use super::kernel::{Files, Kernel};
use super::report::{self, Report};
use super::verdict::hooks;
use crate::architecture::Architecture;
use anyhow::{Context as _, Result};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a guest may take. Without KVM the verifier alone takes many seconds for a program.
const LIMIT: Duration = Duration::from_secs(1200);

/// A guest to be.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Its kernel.
    pub kernel: Kernel,
    /// What it runs on.
    pub architecture: Architecture,
    /// How its cgroups are laid out.
    pub layout: Layout,
    /// The kernel's files.
    pub files: &'a Files,
    /// Its file system.
    pub initrd: &'a Path,
}

impl Guest<'_> {
    /// Runs it to its end and gives what it told.
    pub fn run(&self) -> Result<Report> {
        fs::create_dir_all(logs())?;
        let (console, told) = (self.log("console"), self.log("report"));
        let program = format!("qemu-system-{}", self.architecture.machine());
        let mut machine = Command::new(&program);
        // KVM is not everywhere, and inside of other machines it does not always work where it is there.
        machine.args(["-accel", "tcg,thread=multi"]).args(self.machine());
        machine.args(["-smp", "2", "-m", "1024", "-nodefaults", "-nographic", "-no-reboot"]);
        machine.arg("-kernel").arg(&self.files.image).arg("-initrd").arg(self.initrd);
        machine.arg("-serial").arg(format!("file:{}", console.display()));
        match self.architecture {
            Architecture::Amd64 => {
                machine.arg("-serial").arg(format!("file:{}", told.display()));
            }
            // The machine has but one port of its own.
            Architecture::Arm64 => {
                let port = format!("file,id=report,path={}", told.display());
                machine.args(["-chardev", &port, "-device", "pci-serial,chardev=report"]);
            }
        }
        machine.arg("-append").arg(self.command_line());
        let mut child = machine
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.log("qemu"))?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        shell::wait(&mut child, LIMIT).with_context(|| format!("see {}", console.display()))?;
        let text = fs::read(&told)?;
        report::parse(&String::from_utf8_lossy(&text)).with_context(|| {
            format!(
                "Linux {}, cgroups {}: see {}",
                self.files.release,
                self.layout,
                console.display()
            )
        })
    }

    fn command_line(&self) -> String {
        let hooks = hooks(self.layout).join(",");
        let absences = if self.looks_at_absences() { " vm.absences" } else { "" };
        let layout = self.layout;
        let (console, report) = match self.architecture {
            Architecture::Amd64 => ("ttyS0", "ttyS1"),
            Architecture::Arm64 => ("ttyAMA0", "ttyS0"),
        };
        format!(
            "console={console} panic=-1 loglevel=4 vm.report={report} vm.layout={layout} \
             vm.hooks={hooks}{absences}"
        )
    }

    /// The machine and its processor: for Arm, one of those that servers have. QEMU's `max` would
    /// have more than kernels before 5.12 bear.
    const fn machine(&self) -> &'static [&'static str] {
        match self.architecture {
            Architecture::Amd64 => &["-cpu", "max"],
            Architecture::Arm64 => &["-M", "virt", "-cpu", "neoverse-n1"],
        }
    }

    /// Once for each kernel is enough.
    fn looks_at_absences(&self) -> bool {
        self.layout == Layout::Unified && self.kernel.can_capture()
    }

    fn log(&self, kind: &str) -> PathBuf {
        logs().join(format!(
            "{}-{}-{}.{kind}",
            self.kernel.name(),
            self.architecture.debian(),
            self.layout
        ))
    }
}

/// Where guests' consoles and reports are kept.
pub fn logs() -> PathBuf {
    environment::target().join("vm/logs")
}
