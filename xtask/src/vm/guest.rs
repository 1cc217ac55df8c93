//! Runs a VM guest.

use super::Layout;
use super::kernel::{Kernel, KernelFiles};
use super::report::{self, Report};
use super::verdict::hooks;
use crate::architecture::Architecture;
use anyhow::{Context as _, Result};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest run of a guest. Without KVM the verifier needs many seconds for each program.
const LIMIT: Duration = Duration::from_mins(20);

/// Settings of a guest.
#[derive(Debug)]
pub struct Guest<'a> {
    /// Kernel to boot.
    pub kernel: Kernel,
    /// Architecture of the machine.
    pub architecture: Architecture,
    /// Layout of cgroups.
    pub layout: Layout,
    /// Files of the kernel.
    pub files: &'a KernelFiles,
    /// File system of the guest.
    pub initrd: &'a Path,
}

impl Guest<'_> {
    /// Runs the guest to its end and returns its report.
    pub fn run(&self) -> Result<Report> {
        fs::create_dir_all(logs())?;
        let (console, report_file) = (self.log("console"), self.log("report"));
        let program = format!("qemu-system-{}", self.architecture.machine());
        let mut machine = Command::new(&program);
        // KVM is not always available, and nested KVM is unreliable.
        machine.args(["-accel", "tcg,thread=multi"]).args(self.machine());
        machine.args(["-smp", "2", "-m", "1024", "-nodefaults", "-nographic", "-no-reboot"]);
        machine.arg("-kernel").arg(&self.files.image).arg("-initrd").arg(self.initrd);
        machine.arg("-serial").arg(format!("file:{}", console.display()));
        match self.architecture {
            Architecture::Amd64 => {
                machine.arg("-serial").arg(format!("file:{}", report_file.display()));
            }
            // The machine has one serial port only.
            Architecture::Arm64 => {
                let port = format!("file,id=report,path={}", report_file.display());
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
        let text = fs::read(&report_file)?;
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
        let missing = if self.tests_missing_features() { " vm.missing" } else { "" };
        let layout = self.layout;
        let (console, report) = match self.architecture {
            Architecture::Amd64 => ("ttyS0", "ttyS1"),
            Architecture::Arm64 => ("ttyAMA0", "ttyS0"),
        };
        format!(
            "console={console} panic=-1 loglevel=4 vm.report={report} vm.layout={layout} \
             vm.hooks={hooks}{missing}"
        )
    }

    /// Machine and CPU. For Arm a server CPU, because kernels before 5.12 do not boot on QEMU's `max`.
    const fn machine(&self) -> &'static [&'static str] {
        match self.architecture {
            Architecture::Amd64 => &["-cpu", "max"],
            Architecture::Arm64 => &["-M", "virt", "-cpu", "neoverse-n1"],
        }
    }

    /// Whether to test the agent with kernel features missing: once per kernel.
    fn tests_missing_features(&self) -> bool {
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

/// Folder of the guests' consoles and reports.
pub fn logs() -> PathBuf {
    environment::target().join("vm/logs")
}
