//! A guest from its start to its end.

use super::Layout;
use super::kernel::{Files, Kernel};
use super::report::{self, Report};
use super::verdict::hooks;
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
        let mut machine = Command::new("qemu-system-x86_64");
        // KVM is not everywhere, and inside of other machines it does not always work where it is there.
        machine.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
        machine.args(["-smp", "2", "-m", "1024", "-nodefaults", "-nographic", "-no-reboot"]);
        machine.arg("-kernel").arg(&self.files.image).arg("-initrd").arg(self.initrd);
        for file in [&console, &told] {
            machine.arg("-serial").arg(format!("file:{}", file.display()));
        }
        machine.arg("-append").arg(self.command_line());
        let mut child = machine
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.log("qemu"))?)
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
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
        format!("console=ttyS0 panic=-1 loglevel=4 vm.layout={layout} vm.hooks={hooks}{absences}")
    }

    /// Once for each kernel is enough.
    fn looks_at_absences(&self) -> bool {
        self.layout == Layout::Unified && self.kernel.can_capture()
    }

    fn log(&self, kind: &str) -> PathBuf {
        logs().join(format!("{}-{}.{kind}", self.kernel.name(), self.layout))
    }
}

/// Where guests' consoles and reports are kept.
pub fn logs() -> PathBuf {
    environment::target().join("vm/logs")
}
