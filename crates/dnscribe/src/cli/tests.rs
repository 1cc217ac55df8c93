use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;
use dnscribe_record::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("dnscribe").chain(line.split(' ')))
}

#[test]
fn is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn reads_flags_into_the_top_layer() {
    let line = "run --stream transactions,ledger --sink stdout --sink file:/x --brokers a:1,b:2 \
                --port 53,5353 --metrics-listen off --query-timeout 1s -o json -vv --hook cgroup \
                --cgroup x --interface eth0 --interface eth1 --duration 30s --drain-timeout 0s \
                --log-format json --threads 3";
    let Command::Run(run) = parse(line).unwrap().command else { panic!() };
    let layer = run.sources().flags;
    assert_eq!(layer.sinks.unwrap().len(), 2);
    assert_eq!(layer.kafka.brokers.unwrap().len(), 2);
    assert_eq!(layer.capture.ports.unwrap().to_string(), "53,5353");
    assert_eq!(layer.metrics.listen, Some(Listen(None)));
    assert_eq!(layer.pairing.query_timeout.unwrap().0, Duration::from_secs(1));
    assert_eq!((layer.output, layer.log.level), (Some(RecordOutput::Json), Some(LogLevel::Trace)));
    let interfaces = layer.capture.interfaces.unwrap();
    assert_eq!(interfaces, ["eth0", "eth1"].map(|name| InterfaceName(name.to_owned())));
    assert_eq!(layer.capture.threads, Some(Threads(3)));
    assert_eq!(layer.drain_timeout, Some(Span(Duration::ZERO)));
    assert!(layer.streams.is_some() && layer.duration.is_some());
}

#[test]
fn says_the_remedy_and_exits_2() {
    for (line, remedy) in [
        ("run --port domain", "numbers from 1 to 65535"),
        ("run --stream raw", "choose from messages"),
        (
            "run --stream ledger,probes",
            "\"probes\" is not a stream of agents: choose from messages",
        ),
        ("run --sink kafak", "file:PATH"),
        ("run --query-timeout 5", "such as 5s"),
        ("run --threads 0", "1 to 16, such as 4"),
        ("run --hook kprobe", "auto cgroup socket"),
        ("run --metrics-listen 9353", "127.0.0.1:9353"),
        ("replay", "FILE"),
        ("ledger verify", "FILE"),
        ("kafka init --partitions 0", "such as 12"),
        ("ledger verify x --brokers a:1", "cannot be used with"),
        ("run --brokers kafka:port", "HOST:PORT"),
        ("policy suggest a.ndjson --since 1d", "cannot be used with"),
        ("policy check p.yaml --records a.ndjson --since 1d", "cannot be used with"),
        ("top --records a.ndjson --speed 2x", "cannot be used with"),
        ("top --brokers a:1 --speed 2x", "cannot be used with"),
        ("top --speed 2x", "FILE"),
        ("report --store http://a", "--from"),
        (
            "report --store http://a --from 2026-11-20T07:00:00Z --brokers a:1",
            "cannot be used with",
        ),
        ("run --process a,", "at least one visible character"),
        ("run --status nonsense", "a status such as timeout"),
        ("run --nonsense", "--nonsense"),
        ("nonsense", "nonsense"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.to_string().contains(remedy), "{line}: {error}");
    }
    assert_eq!(parse("--version").unwrap_err().exit_code(), 0);
    assert_eq!(parse("run --help").unwrap_err().exit_code(), 0);
}

#[test]
fn verify_reads_files_or_topics() {
    for line in ["ledger verify a -", "ledger verify --brokers b:1", "ledger verify --config c"] {
        let Command::Ledger(LedgerCommand::Verify(args)) = parse(line).unwrap().command else {
            panic!("{line}");
        };
        assert_eq!(args.files.is_empty(), line.contains("--"), "{line}");
    }
}

#[test]
fn other_commands() {
    assert!(
        matches!(parse("replay - a.pcap").unwrap().command, Command::Replay(args) if args.files.len() == 2)
    );
    let line = "kafka init --brokers a:1 --partitions 2 --replication-factor 3";
    let Command::Kafka(KafkaCommand::Init(init)) = parse(line).unwrap().command else { panic!() };
    let layer = init.sources().flags.kafka;
    assert_eq!(layer.partitions.len(), Stream::ALL.len());
    assert_eq!(layer.replication_factor.unwrap().0, 3);
    assert!(
        matches!(parse("schema dns.dlq/1").unwrap().command, Command::Schema(args) if args.name.is_some())
    );
    assert!(
        matches!(parse("check -o json").unwrap().command, Command::Check(args) if args.output == Some(Output::Json))
    );
}

/// The flag is the same for every command, and its help has the default of the configuration.
#[test]
fn one_flag_sets_the_query_timeout() {
    use dnscribe_agent::config::layer::Layer;
    use dnscribe_config::reader::Field as _;
    let keys = Layer::keys();
    let pairing = keys.iter().find(|key| key.name == "pairing").unwrap();
    let key = pairing.inside.iter().find(|key| key.name == "query_timeout").unwrap();
    let about = key.about.trim_end_matches('.');
    let expected = format!("{about} [default: {}]", key.shown().unwrap());
    let cli = Cli::command();
    for command in ["run", "replay", "check", "top", "trace", "report"] {
        let command = cli.find_subcommand(command).unwrap();
        let flag = command.get_arguments().find(|one| one.get_id() == "query_timeout").unwrap();
        assert_eq!(flag.get_help().unwrap().to_string(), expected, "{}", command.get_name());
    }
}

#[test]
fn filter_flags_replace_the_criteria_of_the_file_in_all_streams() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dnscribe.yaml");
    let text = "version: 1\nfilters:\n  include: { qname: [a.example], qtype: [A] }\n  streams:\n    \
                transactions: { include: { qname: [c.example] }, exclude: { client: [192.0.2.1/32] } }\n";
    std::fs::write(&file, text).unwrap();
    let line = format!(
        "run --config {} --name b.example --process curl --status Timeout,SERVFAIL",
        file.display()
    );
    let Command::Run(run) = parse(&line).unwrap().command else { panic!() };
    let sources = Sources { environment: Vec::new(), ..run.sources() };
    let filters = dnscribe_agent::config::Config::load(&sources).unwrap().filters;
    for stream in FILTERED_STREAMS {
        let filter = filters.get(stream).unwrap();
        let names = filter.include.qname.as_ref().unwrap();
        assert!(names.matches("www.b.example"), "{stream:?}");
        assert!(!names.matches("a.example") && !names.matches("c.example"), "{stream:?}");
        assert_eq!(filter.include.process, Some(["curl".to_owned()].into()));
        let statuses = ["timeout", "servfail"].map(str::to_owned);
        assert_eq!(filter.include.status, Some(statuses.into()));
        assert_eq!(filter.include.qtype, Some([1].into()), "of the file");
        assert_eq!(filter.exclude.client.is_some(), stream == Stream::Transactions, "of the file");
    }
    // A capture file does not say who asked.
    assert!(parse("replay a.pcap --process curl").is_err());
}

/// As in the file and the environment.
#[test]
fn a_space_may_follow_a_comma() {
    let line = |separator: &str| {
        let values = [
            ("--name", ["a.example", "b.example"]),
            ("--client", ["192.0.2.0/24", "192.0.3.1"]),
            ("--qtype", ["A", "AAAA"]),
            ("--resolver", ["1.1.1.1", "corp dns"]),
            ("--status", ["timeout", "servfail"]),
            ("--process", ["curl", "/opt/my tool"]),
            ("--namespace", ["shop", "cart"]),
            ("--pod", ["a-1", "b-1"]),
            ("--brokers", ["a:1", "b:2"]),
            ("--stream", ["ledger", "transactions"]),
            ("--port", ["53", "5353"]),
        ];
        let words = values.map(|(flag, values)| [flag.to_owned(), values.join(separator)]);
        let words =
            ["dnscribe", "run"].map(str::to_owned).into_iter().chain(words.into_iter().flatten());
        format!("{:?}", Cli::try_parse_from(words).unwrap())
    };
    assert_eq!(line(", "), line(","));
    assert_eq!(line(" ,"), line(","));
}

#[test]
fn repeats_no_password_of_a_wrong_flag() {
    for line in [
        "run --sink otlp:http://u:hunter2@127.0.0.1:1",
        "run --sink otlp:http://127.0.0.1:4318/?api-key=hunter2",
        "run --brokers u:hunter2@h:9092",
    ] {
        let text = without_secret(parse(line).unwrap_err()).to_string();
        assert!(!text.contains("hunter2") && text.contains("give"), "{text}");
    }
    let text = without_secret(parse("run --sink kafak").unwrap_err()).to_string();
    assert!(text.contains("invalid value 'kafak' for '--sink <DEST>'"), "{text}");
}

#[test]
fn a_report_begins_some_time_ago() {
    let Command::Report(args) = parse("report --brokers a:1 --since 1h").unwrap().command else {
        panic!()
    };
    let (before, from) = (Timestamp::now(), args.span().from.unwrap());
    let age = before.since(from);
    assert!(age.abs_diff(Duration::from_hours(1)) < Duration::from_mins(1), "{age:?}");
    assert!(parse("report --brokers a:1 --since 1h --from 2026-11-20T07:00:00Z").is_err());
}

/// Returns the inline code of a page, in which a line may end anywhere.
fn inline_code(page: &str) -> Vec<String> {
    let mut is_block = false;
    let mut text = String::new();
    for line in page.lines() {
        is_block ^= line.trim_start().starts_with("```");
        if !is_block && !line.trim_start().starts_with("```") {
            text += line;
            text.push('\n');
        }
    }
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Splits a command at its spaces but not within single quotes, with a time for the word that stands for one.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in command.chars() {
        match (letter, words.last_mut()) {
            ('\'', _) => is_quoted = !is_quoted,
            (' ', _) if !is_quoted => words.push(String::new()),
            (letter, Some(word)) => word.push(letter),
            (_, None) => {}
        }
    }
    for word in &mut words {
        if word == "TIME" {
            "2026-11-20T07:00:00Z".clone_into(word);
        }
    }
    words
}

/// What a page's prose says to run has flags that exist, and all that are needed. Blocks are run by another test.
#[test]
fn commands_in_prose_are_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut commands, mut wrong) = (0, Vec::new());
    for folder in ["", "docs", "docs/runbooks", "docs/adr", "examples"] {
        let files = std::fs::read_dir(root.join(folder)).unwrap().map(|file| file.unwrap().path());
        // What was removed is history.
        let is_page = |file: &PathBuf| {
            file.extension().is_some_and(|end| end == "md") && !file.ends_with("CHANGELOG.md")
        };
        for page in files.filter(is_page) {
            for code in inline_code(&std::fs::read_to_string(&page).unwrap()) {
                let is_whole = !code.contains(['…', '[', '|', '<', '>', '$'])
                    && !["ARGS", "COMMAND"].iter().any(|any| code.contains(any));
                if !is_whole || !code.starts_with("dnscribe ") {
                    continue;
                }
                commands += 1;
                let Err(error) = Cli::try_parse_from(words(&code)) else { continue };
                let is_wrong = match error.kind() {
                    ErrorKind::UnknownArgument
                    | ErrorKind::InvalidSubcommand
                    | ErrorKind::ArgumentConflict => true,
                    // A command that is only mentioned has no flags.
                    ErrorKind::MissingRequiredArgument => code.contains(" --"),
                    _ => false,
                };
                if is_wrong {
                    wrong.push(format!("{}: `{code}`: {error}", page.display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(commands > 50, "{commands}");
}
