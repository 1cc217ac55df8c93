//! The files that the agent may open after the drop: landlock rules, and who may write them.

use super::Account;
use super::broker::FileList;
use crate::config::Config;
use crate::enrich::kubernetes::KubernetesConfig;
use caps::{Capability, CapsHashSet};
use dnscribe_delivery::{SinkSpec, kafka};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{AtFlags, CWD, accessat};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, lchown};
use std::path::{Path, PathBuf};
use std::thread;

/// Files of the system that are read during capture: libraries that are loaded when names are resolved and
/// certificates checked, and /proc for `/metrics` and records.
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

/// Directories that may contain secrets of others beside a file of the configuration.
const SHARED: [&str; 4] = ["/", "/etc", "/root", "/home"];

/// The newest landlock ABI that is used. An older kernel enforces fewer rules.
const NEWEST: ABI = ABI::V6;

/// Capabilities that override file permissions.
pub(super) const OVERRIDES: [Capability; 3] =
    [Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_FOWNER];

/// Access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Files and directories that a configuration names.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files and directories that are read at a reload, or when a server is connected again.
    read: Vec<PathBuf>,
    /// Credentials of Kubernetes, which a library reads.
    credentials: Vec<PathBuf>,
    /// Files of file sinks.
    sinks: Vec<PathBuf>,
    /// Directories that sinks fill: the spool, and those of Parquet files and evidence.
    filled: Vec<PathBuf>,
    /// Mount point of cgroup2.
    cgroups: Option<PathBuf>,
}

impl Files {
    pub(super) fn new(config: &Config, config_file: Option<&Path>) -> Self {
        let mut read = config.secret_files.clone();
        read.extend(config_file.map(Path::to_path_buf));
        // Keys and certificates.
        let options = config.kafka.options.iter().filter(|(name, _)| kafka::is_path(name));
        read.extend(options.map(|(_, path)| PathBuf::from(path)));
        let registry = config.kafka.registry.as_ref().and_then(|one| one.ca_file.clone());
        read.extend(registry);
        read.extend(config.alertmanager.as_ref().and_then(|one| one.ca_file.clone()));
        read.extend(config.otlp.ca_file.clone());
        read.extend(config.indicators.files.iter().map(|(path, _)| path.clone()));
        let has_spool = config.sinks.iter().any(SinkSpec::has_spool);
        let spool = config.spool.as_ref().filter(|_| has_spool);
        let first_seen = config.first_seen.as_ref().map(|one| one.directory.as_path());
        let directories = config.sinks.iter().filter_map(SinkSpec::directory).chain(first_seen);
        Self {
            read,
            sinks: config.sinks.iter().filter_map(SinkSpec::file).map(Path::to_path_buf).collect(),
            filled: spool
                .map(|spool| spool.directory.as_path())
                .into_iter()
                .chain(directories)
                .map(Path::to_path_buf)
                .collect(),
            credentials: config.kubernetes.iter().flat_map(KubernetesConfig::credentials).collect(),
            cgroups: crate::capture::live::cgroup2_mount(),
        }
    }

    /// Creates the directories that sinks fill where they are missing, and gives them to `account` where they are new
    /// or empty. A directory with files in it keeps its owner.
    ///
    /// # Errors
    /// A directory was created and cannot be given to `account`. Other failures occur again when the sink
    /// opens its directory.
    pub(super) fn prepare_directories(&self, account: Option<&Account>) -> Result<(), String> {
        self.filled.iter().try_for_each(|directory| prepare(directory, account))
    }

    /// Returns a directory that a sink fills where it is there and `account` may not write it.
    pub(super) fn denied_directory(&self, account: Option<&Account>) -> Option<&Path> {
        self.filled.iter().map(PathBuf::as_path).find(|directory| {
            // An empty one is handed over.
            let is_used = fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some());
            let wanted = [(Access::Write, directory.to_path_buf())];
            is_used && !denied(account, &wanted).is_empty()
        })
    }

    /// Returns the files of the configuration and of file sinks that `account` may not access, unless it keeps a
    /// capability to do so. The directories that sinks fill are not among them.
    pub(super) fn denied(&self, account: Option<&Account>, keep: &CapsHashSet) -> FileList {
        let read = self.read.iter().map(|path| (Access::Read, path.clone()));
        let written =
            self.sinks.iter().flat_map(|sink| sink_paths(sink)).map(|path| (Access::Write, path));
        let denied = denied(account, &read.chain(written).collect::<Vec<_>>());
        let is_denied = |access, path: &PathBuf| {
            !overrides(keep, access) && denied.contains(&(access, path.clone()))
        };
        let is_denied_sink =
            |sink: &&PathBuf| sink_paths(sink).iter().any(|path| is_denied(Access::Write, path));
        FileList {
            read: self.read.iter().filter(|path| is_denied(Access::Read, path)).cloned().collect(),
            sinks: self.sinks.iter().filter(is_denied_sink).cloned().collect(),
        }
    }

    /// Returns a file with credentials of Kubernetes that `account` may not read.
    pub(super) fn denied_credentials(
        &self,
        account: Option<&Account>,
        keep: &CapsHashSet,
    ) -> Option<PathBuf> {
        if overrides(keep, Access::Read) {
            return None;
        }
        let wanted = self.credentials.iter().map(|path| (Access::Read, path.clone()));
        let wanted: Vec<_> = wanted.collect();
        denied(account, &wanted).into_iter().next().map(|(_, path)| path)
    }

    /// Creates the rules. `is_bound`: file permissions apply to this process, so that whole directories of the
    /// files that are read may be open, and a file that replaces another can be read.
    pub(super) fn rules(&self, is_bound: bool) -> Result<(RulesetCreated, ABI), String> {
        if abi().is_some_and(|abi| abi < ABI::V2) && !self.filled.is_empty() {
            // It forbids all renames from one directory to another.
            return Err("landlock before Linux 5.19 cannot be used with a spool or Parquet files"
                .to_owned());
        }
        let system = SYSTEM.iter().map(PathBuf::from).chain(self.cgroups.clone());
        let shared = is_bound.then(|| PathBuf::from("/etc"));
        let read = self.read.iter().chain(&self.credentials);
        let read = read.flat_map(|path| places(path, is_bound));
        let mut all: Vec<_> =
            system.chain(shared).chain(read).map(|path| (path, reading())).collect();
        all.push(("/dev/null".into(), reading() | AccessFs::WriteFile));
        // A spool on a disk that is read-only now is created later.
        let filled = self.filled.iter().map(|directory| nearest(directory));
        let sinks = self.sinks.iter().flat_map(|sink| sink_paths(sink));
        all.extend(sinks.chain(filled).map(|path| (path, writing())));
        ruleset(all)
    }
}

/// Creates a directory where it is missing, and gives it to `account` where it is new or empty.
fn prepare(directory: &Path, account: Option<&Account>) -> Result<(), String> {
    let missing: Vec<_> = directory.ancestors().take_while(|path| !path.exists()).collect();
    let mut own = Vec::new();
    for path in missing.into_iter().rev() {
        if DirBuilder::new().mode(0o700).create(path).is_ok() {
            own.push(path);
        }
    }
    let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if own.is_empty() && is_empty {
        own.push(directory);
    }
    let Some(account) = account else { return Ok(()) };
    for path in own {
        let failed = |error| format!("cannot give {} to {account}: {error}", path.display());
        // A link is not followed: somebody else may have made it.
        lchown(path, Some(account.uid), Some(account.gid)).map_err(failed)?;
    }
    Ok(())
}

/// Creates the rules of the process that opens these files for the agent.
pub(super) fn rules_of_list(list: &FileList) -> Result<(RulesetCreated, ABI), String> {
    let read = list.read.iter().flat_map(|path| places(path, false));
    let sinks = list.sinks.iter().flat_map(|sink| sink_paths(sink));
    let written = sinks.map(|path| (path, writing()));
    ruleset(read.map(|path| (path, reading())).chain(written).collect())
}

/// Creates rules that allow access to these files and directories, and nothing else.
fn ruleset(all: Vec<(PathBuf, BitFlags<AccessFs>)>) -> Result<(RulesetCreated, ABI), String> {
    let abi = abi().ok_or("landlock is not available: it needs Linux 5.13 with CONFIG_SECURITY_LANDLOCK, and lsm= with landlock in it")?;
    let failed = |error: &dyn std::fmt::Display| format!("landlock: {error}");
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::BindTcp))
        .and_then(|rules| rules.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    for (path, access) in all {
        // A missing file needs no rule.
        let Ok(open) = PathFd::new(&path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        rules = rules
            .add_rule(PathBeneath::new(open, access))
            .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
    }
    Ok((rules, abi))
}

/// Whether one of these capabilities overrides the permissions of files for this access.
fn overrides(keep: &CapsHashSet, access: Access) -> bool {
    keep.contains(&Capability::CAP_DAC_OVERRIDE)
        || access == Access::Read && keep.contains(&Capability::CAP_DAC_READ_SEARCH)
}

/// Returns the file of a file sink and its directory, and where rotated files are created.
fn sink_paths(sink: &Path) -> Vec<PathBuf> {
    let mut written = Vec::new();
    // Links are followed: rotated files are beside the file itself.
    let real = sink.canonicalize();
    let is_special = sink.metadata().is_ok_and(|file| !file.is_file());
    if !is_special {
        written.extend(real.as_deref().map(directory));
        written.push(directory(sink));
    }
    // Unnamed pipes need no permission.
    written.extend(real);
    written
}

/// Returns those that `account` may not access, or this user without capabilities. They are tried by a thread
/// that ends then.
fn denied(account: Option<&Account>, wanted: &[(Access, PathBuf)]) -> Vec<(Access, PathBuf)> {
    let is_denied = |(access, path): &(Access, PathBuf)| {
        use rustix::fs::Access as A;
        let bits = match access {
            Access::Read => A::READ_OK,
            Access::Write if path.is_dir() => A::READ_OK | A::WRITE_OK | A::EXEC_OK,
            Access::Write => A::WRITE_OK,
        };
        let found = accessat(CWD, path, bits, AtFlags::EACCESS);
        // A read-only disk reports only that, and may become writable later.
        matches!(found, Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS))
    };
    let try_all = || {
        let entered = account.is_none_or(|account| account.enter().is_ok());
        let has_no_capabilities = caps::clear(None, caps::CapSet::Effective).is_ok();
        // Access that cannot be tried is taken as granted: the sinks log an error if it is not.
        if !entered || !has_no_capabilities {
            return Vec::new();
        }
        wanted.iter().filter(|one| is_denied(one)).cloned().collect()
    };
    thread::scope(|scope| {
        let tried = thread::Builder::new().spawn_scoped(scope, try_all);
        tried.ok().and_then(|tried| tried.join().ok()).unwrap_or_default()
    })
}

/// Returns the directory of a file.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Returns the directory, or the existing one in which it will be created.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|place| place.exists()).unwrap_or(path).to_path_buf()
}

/// Returns the directories of a file and of the target of its link, where replacements of the file appear.
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

/// Returns the landlock ABI of this kernel, at most [`NEWEST`].
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

/// Enforces rules on this thread and those that it will start. Returns the ABI.
pub(super) fn restrict((rules, abi): (RulesetCreated, ABI)) -> Result<i32, String> {
    let status = rules.restrict_self().map_err(|error| format!("landlock: {error}"))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("landlock: the kernel does not enforce the rules".to_owned());
    }
    Ok(abi as i32)
}
