//! `dnscribe trace`: what one command, process, pod or cgroup asks of DNS.

mod cgroup;
mod child;

use super::thread::{joined, spawn};
use crate::cli::TraceArgs;
use cgroup::CommandCgroup;
use child::{TracedCommand, exit_code};
use dnscribe_agent::capture::live::{HookChoice, ListenerPlace, cgroup2_mount};
use dnscribe_agent::config::Config;
use dnscribe_agent::enrich::{CgroupScope, Scope, ScopeMembers, ScopeTarget};
use dnscribe_agent::privilege::Account;
use dnscribe_agent::session::run::{self, Run};
use dnscribe_agent::session::signals::Signals;
use dnscribe_agent::session::{Endpoint, Start};
use dnscribe_cli::exit::Exit;
use dnscribe_config::log;
use dnscribe_config::value::Output;
use dnscribe_delivery::Batch;
use dnscribe_record::time::Timestamp;
use dnscribe_record::trace::Trace;
use dnscribe_view::top::Theme;
use dnscribe_view::trace::{self, Collector, STREAMS, TraceSubject};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Name of the trace's sink in the ledger.
const SINK: &str = "trace";

/// Interval of ledger records, which say whether packets were lost.
const LEDGER_EVERY: Duration = Duration::from_secs(1);

/// Longest sleep of the capture.
const MAX_SLEEP: Duration = Duration::from_millis(100);

/// Interval at which the thread that watches a process checks whether the trace has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// Traces until the command or process ends, or a signal to stop.
pub(super) fn trace(args: &TraceArgs) -> Result<ExitCode, Exit> {
    let mut config = Config::load(&args.sources())?;
    // What servers report has no processes.
    config.dnstap.clear();
    config.capture.connects = config.capture.hook != HookChoice::Socket;
    // The path of packets is that of the whole host.
    config.capture.path = config.capture.connects && config.capture.cgroup.is_none();
    log::start(config.log);
    let mount = cgroup2_mount().ok_or_else(|| {
        Exit::cannot_capture("no cgroup2 file system is mounted")
            .with_remedy("mount one (mount -t cgroup2 none /sys/fs/cgroup)")
    })?;
    let tracer = Tracer { args, config, mount };
    // A file that cannot be written is known before the command runs.
    let file = args.output_file.as_ref().map(|path| {
        let problem = |error| Exit::usage(format!("cannot write to {}: {error}", path.display()));
        File::create(path).map_err(problem)
    });
    let file = file.transpose()?;
    let (trace, signal) =
        if args.command.is_empty() { (tracer.watch()?, None) } else { tracer.command()? };
    let text = text(args, &trace, signal)?;
    let written = file.map(|mut file| file.write_all(text.as_bytes()));
    // The command has run: its exit code counts, and the tree must not be lost.
    if let Some(Err(error)) = &written {
        tracing::warn!("cannot write the trace to its file, so it follows: {error}");
    }
    let is_filed = matches!(written, Some(Ok(())));
    let shown = if is_filed { Ok(()) } else { io::stderr().write_all(text.as_bytes()) };
    if args.command.is_empty() {
        if let Some(Err(error)) = written {
            return Err(Exit::failed(format!("cannot write the trace to its file: {error}")));
        }
        if let Err(error) = shown
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(Exit::failed(format!("cannot write to stderr: {error}")));
        }
    }
    let code = trace.exit_code.unwrap_or(0);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

struct Tracer<'a> {
    args: &'a TraceArgs,
    config: Config,
    mount: PathBuf,
}

/// A capture that collects the records of a scope.
struct Capture {
    run: Run,
    collector: Arc<Mutex<Collector>>,
    query_timeout: Duration,
}

impl Tracer<'_> {
    /// Runs a command in a cgroup of its own, from its first to its last query. Returns also the signal that ended it.
    fn command(&self) -> Result<(Trace, Option<i32>), Exit> {
        let account = self.account()?;
        let signals = Signals::without_handlers()?;
        let cgroup = CommandCgroup::create(&self.mount)?;
        let capture = self.capture(self.cgroup_scope(&cgroup.directory)?, &signals)?;
        let started = Timestamp::now();
        let command = TracedCommand::start(&self.args.command, account.as_ref(), &cgroup)?;
        let waiter = spawn("command", move || {
            let status = command.wait();
            let ended = Timestamp::now();
            signals.request_stop();
            status.map(|status| (status, ended))
        })?;
        let query_timeout = capture.query_timeout;
        let captured = capture.until_the_end();
        // Also where the capture failed: the command must not be left alone.
        let (status, ended) = joined(waiter)?
            .map_err(|error| Exit::failed(format!("cannot wait for the command: {error}")))?;
        let collector = captured?;
        let left = cgroup.release();
        if left > 0 {
            tracing::warn!(
                "processes that the command has left running: {left}; their later queries are missing"
            );
        }
        let words = self.args.command.iter().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        let name = words.first().map(Path::new).and_then(Path::file_name);
        let trace = collector.finish(&TraceSubject {
            name: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            command: words,
            started,
            ended,
            exit_code: Some(exit_code(status)),
            query_timeout,
        });
        Ok((trace, status.signal()))
    }

    /// Watches a process, pod or cgroup that runs already.
    fn watch(&self) -> Result<Trace, Exit> {
        let signals = Signals::listen()?;
        signals.stop_at_hangup()?;
        let (name, target) = self.target()?;
        let watched = self.args.pid.map(open_process).transpose()?;
        let capture = self.capture(target, &signals)?;
        let started = Timestamp::now();
        let watcher = watched.map(|process| {
            let signals = signals.clone();
            spawn("process", move || wait_for_end(&process, &signals))
        });
        let watcher = watcher.transpose()?;
        let query_timeout = capture.query_timeout;
        let collector = capture.until_the_end();
        let ended = Timestamp::now();
        signals.request_stop();
        watcher.map(joined).transpose()?;
        Ok(collector?.finish(&TraceSubject {
            name,
            command: Vec::new(),
            started,
            ended,
            exit_code: None,
            query_timeout,
        }))
    }

    /// Returns name and scope of what runs already.
    fn target(&self) -> Result<(String, ScopeTarget), Exit> {
        if let Some(pid) = self.args.pid {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Ok((format!("{} ({pid})", comm.trim_end()), ScopeTarget::Process(pid)));
        }
        if let Some(pod) = &self.args.pod {
            if self.config.kubernetes.is_none() {
                return Err(Exit::usage(
                    "pods are known only where Kubernetes is: kubernetes.enabled is off, or auto and finds neither a service \
                     account nor a kubeconfig",
                )
                .with_remedy("run it in the agent's pod, or give kubernetes.kubeconfig by --config FILE"));
            }
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            return Ok((format!("pod {namespace}/{name}"), ScopeTarget::Pod { namespace, name }));
        }
        let wanted = self.args.cgroup.as_deref().unwrap_or(&self.mount);
        Ok((format!("cgroup {}", wanted.display()), self.cgroup_scope(wanted)?))
    }

    fn cgroup_scope(&self, directory: &Path) -> Result<ScopeTarget, Exit> {
        let directory = self.mount.join(directory);
        let scope = CgroupScope::open(&self.mount, &directory);
        scope.map(ScopeTarget::Cgroup).map_err(|error| {
            Exit::usage(format!("cannot open cgroup {}: {error}", directory.display()))
                .with_remedy(format!("name a directory below {}", self.mount.display()))
        })
    }

    /// Returns the user that the command runs as, if another one is wanted.
    fn account(&self) -> Result<Option<Account>, Exit> {
        let Some(user) = &self.args.user else { return Ok(None) };
        Account::choose(Some(user)).map_err(Exit::usage)
    }

    fn capture(&self, target: ScopeTarget, signals: &Signals) -> Result<Capture, Exit> {
        let members = ScopeMembers::default();
        let known = members.clone();
        let is_member = Box::new(move |pid| known.contains(pid));
        let collector = Arc::new(Mutex::new(Collector::new(is_member)));
        let shared = Arc::clone(&collector);
        let take = move |batch: &Batch| {
            shared.lock().unwrap_or_else(PoisonError::into_inner).observe(batch);
        };
        let mut config = self.config.clone();
        let mut capture = run::Capture::open(&config, ListenerPlace::Thread);
        if capture.is_err() && config.capture.connects {
            // Hook socket has no connections, and is better than nothing.
            config.capture.connects = false;
            config.capture.path = false;
            capture = run::Capture::open(&config, ListenerPlace::Thread);
        }
        let capture = capture?;
        let query_timeout = config.pairing.query_timeout;
        let start = Start {
            sources: self.args.sources(),
            config,
            signals: signals.clone(),
            endpoint: Endpoint::default(),
            sinks: vec![dnscribe_delivery::observer(SINK, STREAMS.into_iter().collect(), take)?],
            ledger_every: LEDGER_EVERY,
            max_sleep: MAX_SLEEP,
            summary: false,
            scope: Some(Scope::new(target, members)),
        };
        let run = Run::start(start, capture, None)?;
        Ok(Capture { run, collector, query_timeout })
    }
}

impl Capture {
    /// Captures until the flag to stop is raised. Then all records have been collected.
    fn until_the_end(self) -> Result<Collector, Exit> {
        self.run.until_the_end()?;
        let mut collector = self.collector.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *collector))
    }
}

/// Returns the tree as text or JSON.
fn text(args: &TraceArgs, trace: &Trace, signal: Option<i32>) -> Result<String, Exit> {
    if args.output == Some(Output::Json) {
        let json = serde_json::to_string_pretty(trace);
        return json
            .map(|json| json + "\n")
            .map_err(|error| Exit::failed(format!("cannot write the trace: {error}")));
    }
    let theme = Theme::of_environment(|name| std::env::var(name).ok());
    let mut text = trace::render(trace, signal, theme.unicode);
    // Without the file, libc has an order of its own, in which DNS comes first.
    let nsswitch = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let service = trace::name_service(&nsswitch).filter(|_| !trace::has_dns(trace));
    text.extend(service.map(|service| format!("{service}\n")));
    Ok(text)
}

fn open_process(pid: u32) -> Result<OwnedFd, Exit> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let opened =
        raw.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    opened.map_err(|error| Exit::usage(format!("there is no process {pid} to trace: {error}")))
}

/// Raises the flag to stop when the process has ended. Ends when that flag is raised.
fn wait_for_end(process: &OwnedFd, signals: &Signals) {
    let pause = Timespec::try_from(PAUSE).unwrap_or_default();
    while !signals.stop() {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return signals.request_stop(),
        }
    }
}
