//! The files that may still be opened.

use super::Account;
use crate::config::Config;
use crate::sink::SinkSpec;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{AtFlags, CWD, accessat};
use std::path::{Path, PathBuf};
use std::thread;

/// What is read of the system meanwhile: names are resolved and certificates checked, by libraries that
/// are loaded when they are needed; `/metrics` and the records tell what /proc says.
const SYSTEM: [&str; 24] = [
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
    "/dev/random",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/services",
];

/// Directories in which others keep their secrets beside a file of ours.
const SHARED: [&str; 4] = ["/", "/etc", "/root", "/home"];

/// The newest kind of rule that is asked for; an older kernel has fewer.
const NEWEST: ABI = ABI::V6;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The files of a configuration.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files and directories that are read again: at a reload, or when a server is reached anew.
    read: Vec<PathBuf>,
    /// Files of sinks.
    sinks: Vec<PathBuf>,
    spool: Option<PathBuf>,
    /// Where cgroup2 is mounted.
    cgroups: Option<PathBuf>,
    /// The port of `/metrics`.
    port: Option<u16>,
}

impl Files {
    pub(super) fn of(config: &Config, config_file: Option<&Path>) -> Self {
        let mut read = config.secret_files.clone();
        read.extend(config_file.map(Path::to_path_buf));
        // Keys, certificates and lists of both, by the names that librdkafka gives its settings.
        let is_path = |name: &str| name.ends_with(".location") || name.ends_with(".keytab");
        let options = config.kafka.options.iter().filter(|(name, _)| is_path(name));
        read.extend(options.map(|(_, path)| PathBuf::from(path)));
        let registry = config.kafka.registry.as_ref().and_then(|one| one.ca_file.clone());
        read.extend(registry);
        read.extend(config.alertmanager.as_ref().and_then(|one| one.ca_file.clone()));
        read.extend(config.kubernetes.as_ref().map(|one| one.credentials().to_path_buf()));
        let has_kafka = config.sinks.contains(&SinkSpec::Kafka);
        let spool = config.spool.as_ref().filter(|_| has_kafka);
        Self {
            read,
            sinks: config.sinks.iter().filter_map(SinkSpec::file).map(Path::to_path_buf).collect(),
            spool: spool.map(|spool| spool.directory.clone()),
            cgroups: crate::capture::live::cgroup2_mount(),
            port: config.metrics_listen.map(|address| address.port()),
        }
    }

    pub(super) fn spool(&self) -> Option<&Path> {
        self.spool.as_deref()
    }

    /// What is written to: files of sinks, or where they are made and renamed, and the spool.
    fn written(&self) -> Vec<PathBuf> {
        let mut written = Vec::new();
        for path in &self.sinks {
            // Links are followed: what is rotated stands beside the file itself.
            let real = path.canonicalize();
            let is_special = path.metadata().is_ok_and(|file| !file.is_file());
            if !is_special {
                written.extend(real.as_deref().map(directory));
                written.push(directory(path));
            }
            // Pipes without a name can be written to by whoever has them.
            written.extend(real);
        }
        // One that cannot be made yet, on a disk that refuses, is made later.
        written.extend(self.spool.as_deref().map(nearest));
        written.sort();
        written.dedup();
        written
    }

    /// What this user, or this process without capabilities, would not be let to: tried by a thread
    /// that ends then.
    pub(super) fn denied(&self, account: Option<&Account>) -> Vec<(Access, PathBuf)> {
        let read = self.read.iter().map(|path| (Access::Read, path.clone()));
        let wanted: Vec<_> =
            read.chain(self.written().into_iter().map(|path| (Access::Write, path))).collect();
        let is_denied = |(access, path): &(Access, PathBuf)| {
            use rustix::fs::Access as A;
            let bits = match access {
                Access::Read => A::READ_OK,
                Access::Write if path.is_dir() => A::READ_OK | A::WRITE_OK | A::EXEC_OK,
                Access::Write => A::WRITE_OK,
            };
            let found = accessat(CWD, path, bits, AtFlags::EACCESS);
            // A disk that is read-only says nothing else, and may be writable later.
            matches!(found, Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS))
        };
        let try_all = || {
            let entered = account.is_none_or(|account| account.enter().is_ok());
            let is_bare = caps::clear(None, caps::CapSet::Effective).is_ok();
            // Who cannot be tried is taken for one who may: the sinks say it if not.
            if !entered || !is_bare {
                return Vec::new();
            }
            wanted.iter().filter(|one| is_denied(one)).cloned().collect()
        };
        thread::scope(|scope| scope.spawn(try_all).join().unwrap_or_default())
    }

    /// The rules for all of that. `is_bound`: the permissions of files hold for this process, so that the
    /// directories of what is read may be open: there, a file that takes the place of another is found.
    pub(super) fn rules(&self, is_bound: bool) -> Result<Rules, String> {
        let abi = abi().ok_or("landlock is not there: it needs Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and lsm= with landlock in it")?;
        if abi < ABI::V2 && self.spool.is_some() {
            // It would forbid all renames from one directory to another.
            return Err("landlock before Linux 5.19 is of no use with a spool".to_owned());
        }
        let failed = |error: &dyn std::fmt::Display| format!("landlock: {error}");
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|rules| rules.handle_access(AccessNet::BindTcp))
            .and_then(|rules| rules.scope(Scope::Signal))
            .and_then(Ruleset::create)
            .map_err(|error| failed(&error))?;
        if let Some(port) = self.port {
            rules = rules
                .add_rule(NetPort::new(port, AccessNet::BindTcp))
                .map_err(|error| failed(&error))?;
        }
        let system = SYSTEM.iter().map(PathBuf::from).chain(self.cgroups.clone());
        let shared = is_bound.then(|| PathBuf::from("/etc"));
        let read = self.read.iter().flat_map(|path| places(path, is_bound));
        let mut all: Vec<_> =
            system.chain(shared).chain(read).map(|path| (path, reading())).collect();
        all.push(("/dev/null".into(), reading() | AccessFs::WriteFile));
        all.extend(self.written().into_iter().map(|path| (path, writing())));
        for (path, access) in all {
            // What is not there needs no rule.
            let Ok(open) = PathFd::new(&path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
            rules = rules
                .add_rule(PathBeneath::new(open, access))
                .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
        }
        Ok(Rules { rules, abi })
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A directory, or where it will be made.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|place| place.exists()).unwrap_or(path).to_path_buf()
}

/// Where a file that is read is, and what takes its place: links and their targets.
fn places(path: &Path, is_bound: bool) -> Vec<PathBuf> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let place = |path: &Path| {
        let directory = directory(path);
        let is_shared = SHARED.iter().any(|shared| directory == Path::new(shared));
        if path.is_dir() || is_shared && !is_bound { path.to_path_buf() } else { directory }
    };
    vec![place(path), place(&real)]
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// What landlock this kernel has, of that which is asked for.
pub(super) fn abi() -> Option<ABI> {
    let all = [ABI::V6, ABI::V5, ABI::V4, ABI::V3, ABI::V2, ABI::V1];
    all.into_iter().find(|abi| {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let rules = rules.handle_access(AccessFs::from_all(*abi));
        let rules = match *abi {
            ABI::V6 => rules.and_then(|rules| rules.scope(Scope::Signal)),
            ABI::V4 => rules.and_then(|rules| rules.handle_access(AccessNet::BindTcp)),
            _ => rules,
        };
        rules.is_ok()
    })
}

/// Rules that are ready, for when this thread is to be bound by them.
pub(super) struct Rules {
    rules: RulesetCreated,
    abi: ABI,
}

impl Rules {
    /// Binds this thread and those that it will start, and says by which kinds of rule.
    pub(super) fn restrict(self) -> Result<i32, String> {
        let status = self.rules.restrict_self().map_err(|error| format!("landlock: {error}"))?;
        if status.ruleset == RulesetStatus::NotEnforced {
            return Err("landlock: the kernel enforces nothing".to_owned());
        }
        Ok(self.abi as i32)
    }
}
