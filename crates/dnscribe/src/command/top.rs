//! `dnscribe top`: a live view of captured, replayed or recorded traffic.

use super::thread::{joined, spawn};
use crate::cli::{Speed, TopArgs};
use dnscribe_agent::capture::live::{HookChoice, ListenerPlace};
use dnscribe_agent::config::{Config, Sources};
use dnscribe_agent::session::replay::{self, Pace};
use dnscribe_agent::session::run::{Capture, Run};
use dnscribe_agent::session::signals::Signals;
use dnscribe_agent::session::{Endpoint, Start};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log::{self, Ring};
use dnscribe_delivery::kafka::{self, RecordDecoder};
use dnscribe_delivery::{self, KafkaConfig, Sink, Stream};
use dnscribe_record::time::Timestamp;
use dnscribe_view::top::{self, SINK, ScreenOptions, Shared, Span, Theme, WIDTH};
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Interval of ledger records, shorter than in `run` so that losses are shown soon.
const LEDGER_EVERY: Duration = Duration::from_secs(1);

/// Age of the oldest records of topics that are shown: the time that the view covers.
const RECENT: Duration = Duration::from_mins(1);

/// Interval at which the end is checked.
const PAUSE: Duration = Duration::from_millis(50);

/// Shows live traffic, capture files or records until stopped.
pub(super) fn top(args: &TopArgs) -> Result<(), Exit> {
    if let Some(obstacle) = top::obstacle().filter(|_| !args.once) {
        return Err(Exit::usage(format!("top draws on a terminal, and {obstacle}")).with_remedy(
            "use `dnscribe top --once` for one picture as plain text, or `dnscribe run` for records",
        ));
    }
    let sources = args.sources();
    let config = Config::load(&sources)?;
    let log = if args.once {
        log::start(config.log);
        Ring::default()
    } else {
        log::start_in_memory(config.log)
    };
    let signals = Signals::listen()?;
    signals.stop_at_hangup()?;
    let view = View { args, log, signals: signals.clone(), shared: Arc::default() };
    match &args.records {
        Some(path) => view.records(path),
        None if !args.brokers.is_empty() => view.topics(config),
        None if args.files.is_empty() => view.live(sources, config),
        None => view.files(sources, config),
    }
}

/// State that live, replay and records have in common.
struct View<'a> {
    args: &'a TopArgs,
    log: Ring,
    signals: Signals,
    shared: Arc<Shared>,
}

impl View<'_> {
    /// Runs the pipeline of `run` with the view as its only sink.
    fn live(self, sources: Sources, mut config: Config) -> Result<(), Exit> {
        // Servers that send dnstap report no connections, and hook socket sees none.
        config.capture.connects = config.has_hook() && config.capture.hook != HookChoice::Socket;
        let mut capture = Capture::open(&config, ListenerPlace::Thread);
        if capture.is_err() && config.capture.connects {
            config.capture.connects = false;
            capture = Capture::open(&config, ListenerPlace::Thread);
        }
        let capture = capture?;
        let start = self.start(sources, config)?;
        let run = Run::start(start, capture, None)?;
        // The first clause names the hook; the log shows all.
        let source = run.capture.description().split(',').next().unwrap_or_default().to_owned();
        self.shared.use_wall_clock();
        // Nothing is logged between here and the screen.
        let screen = self.open(&source, Span::Recent)?;
        let done = run.until_the_end();
        self.shared.end();
        self.signals.stop.store(true, Ordering::Relaxed);
        self.close(screen, done, &source, Span::Recent)
    }

    /// Runs the pipeline of `replay`, at the speed that was asked for.
    fn files(self, sources: Sources, config: Config) -> Result<(), Exit> {
        let args = self.args;
        let source = names(&args.files);
        let (pace, span) = match args.speed {
            Some(Speed::Times(times)) if !args.once => (Some(Pace::new(times)), Span::Recent),
            _ => (None, Span::Whole),
        };
        let start = self.start(sources, config)?;
        let screen = self.open(&source, span)?;
        let done = replay::files(&args.files, start, pace)
            .map_err(|exit| exit.with_remedy("for records of dnscribe: --records FILE"));
        self.close(screen, done, &source, span)
    }

    /// Shows records of another agent. They are read by a thread of its own, which may block on a pipe.
    fn records(self, path: &Path) -> Result<(), Exit> {
        let follow = !self.args.once;
        let source = format!("records of {}", names(&[path.to_path_buf()]));
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.signals.stop));
        let input = path.to_path_buf();
        let reader = spawn("records", move || top::follow(&input, &shared, follow, &stop))?;
        let screen = self.open(&source, Span::Whole)?;
        let done = self.wait_for_reader(reader)?.map_err(|problem| {
            Exit::usage(problem.to_string()).with_remedy(
                "give a file of `dnscribe run -o json`; capture files need no --records",
            )
        });
        self.close(screen, done, &source, Span::Whole)
    }

    /// Shows the records that all nodes send to Kafka from now on, and those of the last minute.
    fn topics(self, config: Config) -> Result<(), Exit> {
        let source = format!("topics of {}", config.kafka.brokers.join(", "));
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.signals.stop));
        shared.use_wall_clock();
        let end = config.duration.map(|duration| Instant::now() + duration);
        let brokers = config.kafka.brokers.join(", ");
        let reader = spawn("topics", move || follow_topics(&config.kafka, &shared, &stop))?;
        let screen = self.open(&source, Span::Recent)?;
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        while !reader.is_finished() && !self.signals.stop() && !is_over() {
            thread::sleep(PAUSE);
        }
        if is_over() {
            self.signals.stop.store(true, Ordering::Relaxed);
        }
        let is_read =
            if self.args.once || reader.is_finished() { joined(reader)? } else { Ok(true) };
        let done = match is_read {
            // A picture without anything looks like a quiet network.
            Ok(false) if self.args.once => Err(Exit::failed(format!(
                "none of the topics could be read from {brokers}"
            ))
            .with_remedy("see the log for the reason; `dnscribe check --brokers HOST:PORT` tests brokers and topics")),
            other => other.map(|_| ()),
        };
        self.close(screen, done, &source, Span::Recent)
    }

    /// Waits until a thread has read all, or the user quits. Returns the thread's result if it has ended.
    fn wait_for_reader<E>(&self, reader: JoinHandle<Result<(), E>>) -> Result<Result<(), E>, Exit> {
        while !reader.is_finished() && !self.signals.stop() {
            thread::sleep(PAUSE);
        }
        if reader.is_finished() { joined(reader) } else { Ok(Ok(())) }
    }

    /// Waits until the user quits, or a signal ends the program.
    fn wait_for_end(&self, screen: Screen) -> Result<io::Result<()>, Exit> {
        let mut end = None;
        while !screen.is_finished() {
            if self.signals.stop()
                && *end.get_or_insert_with(Instant::now) + END_TIMEOUT < Instant::now()
            {
                return Ok(Ok(()));
            }
            thread::sleep(PAUSE);
        }
        joined(screen)
    }

    fn start(&self, sources: Sources, config: Config) -> Result<Start, Exit> {
        let shared = Arc::clone(&self.shared);
        let take =
            move |batch: &dnscribe_delivery::Batch| shared.feed(|model| model.observe(batch));
        let sink: Box<dyn Sink> = dnscribe_delivery::observer(SINK, TopArgs::streams(), take)?;
        Ok(Start {
            sources,
            config,
            signals: self.signals.clone(),
            endpoint: Endpoint::default(),
            sinks: vec![sink],
            ledger_every: LEDGER_EVERY,
            // The end of the screen sets a flag, which is polled.
            max_sleep: PAUSE,
            summary: false,
            scope: None,
        })
    }

    /// Opens the screen, unless `--once` is given.
    fn open(&self, source: &str, span: Span) -> Result<Option<Screen>, Exit> {
        if self.args.once {
            return Ok(None);
        }
        let theme = Theme::of_environment(|name| std::env::var(name).ok());
        let options = ScreenOptions {
            source: source.to_owned(),
            vantage: self.args.vantage.unwrap_or_default(),
            span,
            theme: Theme { unicode: theme.unicode && !self.args.ascii, ..theme },
        };
        let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
        let stop = Arc::clone(&self.signals.stop);
        spawn("screen", move || top::show(&shared, &options, &log, &stop)).map(Some)
    }

    /// Handles the end of the source. The screen stays until the user quits, unless something failed.
    fn close(
        self,
        screen: Option<Screen>,
        done: Result<(), Exit>,
        source: &str,
        span: Span,
    ) -> Result<(), Exit> {
        self.shared.end();
        let Some(screen) = screen else {
            done?;
            let vantage = self.args.vantage.unwrap_or_default();
            let width = terminal_width();
            let text =
                self.shared.read(|model| top::plain_text(model, source, vantage, span, width));
            return print(&text);
        };
        if done.is_err() {
            self.signals.stop.store(true, Ordering::Relaxed);
        }
        let shown = self.wait_for_end(screen)?;
        done?;
        shown.map_err(|error| Exit::failed(format!("cannot draw on the terminal: {error}")))
    }
}

/// Passes the records of topics to the model until `stop` is raised. Returns whether any of the topics was found.
fn follow_topics(config: &KafkaConfig, shared: &Shared, stop: &AtomicBool) -> Result<bool, Exit> {
    let since = Timestamp::now().minus(RECENT);
    let wanted = TopArgs::streams();
    let streams = Stream::ALL.into_iter().filter(|stream| wanted.contains(*stream));
    // Streams may share a topic.
    let topics: BTreeSet<&str> = streams.map(|stream| config.topic(stream)).collect();
    let topics: Vec<_> = topics.into_iter().map(|topic| (topic.to_owned(), since)).collect();
    let mut decoder = RecordDecoder::new(config);
    let mut failure = None;
    let followed =
        kafka::follow(config, &topics, stop, &mut |_, value| match decoder.decode(value) {
            Ok(line) => {
                shared.feed(|model| {
                    model.json_line(line);
                });
                ControlFlow::Continue(())
            }
            Err(why) => {
                failure = Some(why);
                ControlFlow::Break(())
            }
        });
    let is_found = followed.map_err(Exit::failed)?;
    failure.map_or(Ok(is_found), |why| Err(Exit::failed(why)))
}

type Screen = JoinHandle<io::Result<()>>;

/// Time limit for restoring the screen: a terminal may accept no more bytes, which must not block the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

fn terminal_width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.map_or(WIDTH, |columns: u16| columns.max(60))
}

/// The last parts of the paths.
pub(super) fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| match path.file_name() {
        _ if path == Path::new("-") => "stdin".to_owned(),
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    };
    match paths {
        [] => String::new(),
        [one] => name(one),
        [first, rest @ ..] => format!("{} and {} more", name(first), rest.len()),
    }
}
