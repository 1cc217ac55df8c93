//! The stack that the tests share, and what they write to it.

use crate::disk::{empty, fill, mount, unmount};
use crate::proxy::Proxy;
use dnscribe_tests::environment::{self, lab_capture};
use dnscribe_tests::kafka::{self, Broker};
use dnscribe_tests::stack::flink::Flink;
use dnscribe_tests::stack::{Component, Stack, jobs, timescaledb};
use dnscribe_tests::{http, shell};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time limit for the job to reach the end of its topic, on a busy machine and with a restart.
pub const CAUGHT_UP: Duration = Duration::from_mins(4);
/// How long the jobs wait for an answer of `PostgreSQL`.
pub const ANSWER: Duration = Duration::from_secs(8);
/// Pause of a load; checkpoints are two seconds apart.
const LOAD_PAUSE: Duration = Duration::from_millis(800);
/// Components of the stack.
const COMPONENTS: [Component; 6] = [
    Component::Kafka,
    Component::Flink,
    Component::TimescaleDb,
    Component::InfluxDb,
    Component::ClickHouse,
    Component::Alertmanager,
];
/// Stores whose data is on a small file system of its own, which a test can fill, and its size.
pub const STORES: [(Component, &str); 3] = [
    (Component::TimescaleDb, "400m"),
    (Component::InfluxDb, "200m"),
    (Component::ClickHouse, "800m"),
];

/// The stack, as long as a test uses it. Tests start while others run or wait, so it lasts until
/// the last one has ended.
static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
/// Number of nodes whose records were written.
static NODES: AtomicU32 = AtomicU32::new(0);

/// A test's share in the stack.
pub struct Shared(Arc<Running>);

impl Shared {
    /// Starts the stack unless it runs. `None` without the privilege that it needs.
    pub fn get() -> Option<Self> {
        if !environment::privileged() {
            return None;
        }
        ENTERED.fetch_add(1, Ordering::SeqCst);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let running = shared.upgrade().unwrap_or_else(|| Arc::new(Running::up()));
        *shared = Arc::downgrade(&running);
        Some(Self(running))
    }

    /// Waits until no other test uses the stack's own topics.
    pub fn lock(&self) -> Scene<'_> {
        self.scene(&SCENE, Faults::None(FAULTS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until no other test with topics and databases of its own uses the stack. Those with the stack's own topics go on.
    pub fn beside(&self) -> Scene<'_> {
        self.scene(&SANDBOX, Faults::None(FAULTS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until no other test uses the stack, whose processes this one ends or suspends.
    pub fn alone(&self) -> Scene<'_> {
        ALONE.fetch_add(1, Ordering::SeqCst);
        // After the others, of which two can run beside each other.
        while ENTERED.load(Ordering::SeqCst) > ALONE.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(100));
        }
        self.scene(&SCENE, Faults::All(FAULTS.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn scene<'a>(&'a self, lane: &'static Mutex<()>, faults: Faults) -> Scene<'a> {
        let (has_failed, lane) = match lane.lock() {
            Ok(guard) => (false, guard),
            Err(poisoned) => {
                lane.clear_poison();
                (true, poisoned.into_inner())
            }
        };
        let start = Instant::now();
        if has_failed {
            self.0.repair();
        }
        Scene { running: &self.0, start, _lane: lane, faults }
    }
}

/// Held while a test uses the stack's own topics.
static SCENE: Mutex<()> = Mutex::new(());
/// Held while a test with topics of its own runs.
static SANDBOX: Mutex<()> = Mutex::new(());
/// Held for writing while processes of the stack may end.
static FAULTS: RwLock<()> = RwLock::new(());
/// Number of tests that have begun and not ended, and of those among them that run alone.
static ENTERED: AtomicU32 = AtomicU32::new(0);
static ALONE: AtomicU32 = AtomicU32::new(0);

/// A lock that is held as long as the value.
#[derive(Debug)]
enum Faults {
    None(#[expect(dead_code, reason = "a lock")] RwLockReadGuard<'static, ()>),
    All(#[expect(dead_code, reason = "a lock")] RwLockWriteGuard<'static, ()>),
}

impl Drop for Shared {
    fn drop(&mut self) {
        ENTERED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The stack in the hands of one test. Its end writes how long that took.
pub struct Scene<'a> {
    running: &'a Running,
    start: Instant,
    _lane: MutexGuard<'static, ()>,
    faults: Faults,
}

impl Deref for Scene<'_> {
    type Target = Running;

    fn deref(&self) -> &Running {
        self.running
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if matches!(self.faults, Faults::All(_)) {
            ALONE.fetch_sub(1, Ordering::SeqCst);
        }
        let (thread, seconds) = (thread::current(), self.start.elapsed().as_secs());
        // Not captured with the test's output. A failing test says more than a failing end.
        let _ = writeln!(io::stderr(), "scene {}: {seconds} s", thread.name().unwrap_or_default());
    }
}

/// A stack that ends with its value.
pub struct Running {
    stack: RwLock<Option<Stack>>,
    brokers: String,
    /// Records that are no transactions, written so far.
    malformed: AtomicU64,
    /// Between Flink and Kafka.
    pub proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Running {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stack = Stack::for_test(folder.path()).unwrap();
        for (store, size) in STORES {
            mount(&stack.folder(store).join("data"), size);
        }
        let broker = Broker::proxied(&stack.folder(Component::Kafka)).unwrap();
        let (proxy, proxied) = (broker.proxy_address(), broker.proxied_address());
        let brokers = broker.detach().unwrap();
        let proxy = Proxy::start(&proxy, &proxied);
        stack.start_all(&COMPONENTS).unwrap();
        let running = Self {
            stack: RwLock::new(Some(stack)),
            brokers,
            malformed: AtomicU64::new(0),
            proxy,
            folder,
        };
        running.submit();
        running
    }

    /// Submits the jobs that do not run.
    fn submit(&self) {
        let stack = self.stack();
        let tables = jobs::jdbc(stack.address(Component::TimescaleDb).unwrap().as_str().unwrap());
        let overrides = json!({
            "kafka": { "brokers": self.proxy.address },
            "checkpoints": { "interval": "2s" },
            // The captures are of past years.
            "clickhouse": { "retention": "18250d" },
            // The jobs' own limit is 30 s.
            "timescaledb": { "url": format!("{tables}?socketTimeout={}", ANSWER.as_secs()) },
            "fleet": { "allowed_lateness": "20s" },
            "archive": { "path": format!("file://{}", self.archive().display()) },
        });
        jobs::submit(&stack, &overrides).unwrap();
    }

    /// Ends a job and submits it without its state. What it has written is committed.
    pub fn forget(&self, job: &str) {
        let flink = self.flink();
        let running =
            || jobs::own(&self.stack()).unwrap().into_iter().find(|running| running.name == job);
        flink.stop_with_savepoint(&running().unwrap().id).unwrap();
        shell::wait_for("the end of a job", CAUGHT_UP, || Ok(running().is_none().then_some(())))
            .unwrap();
        self.submit();
    }

    /// Folder of the archive.
    pub fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// Addresses of the brokers.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    pub fn stack(&self) -> impl Deref<Target = Stack> {
        let stack = self.stack.read().unwrap_or_else(PoisonError::into_inner);
        MappedStack(stack)
    }

    /// Starts or ends something of the stack.
    pub fn change<T>(&self, change: impl FnOnce(&mut Stack) -> T) -> T {
        change(self.stack.write().unwrap_or_else(PoisonError::into_inner).as_mut().unwrap())
    }

    /// Records that are no transactions, written so far.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::SeqCst)
    }

    pub fn flink(&self) -> Flink {
        self.stack().flink().unwrap().clone()
    }

    /// Starts what a failed test has left suspended, full or ended.
    fn repair(&self) {
        self.proxy.pass();
        self.change(Stack::stop_demo).unwrap();
        for (store, _) in STORES {
            self.empty_disk(store);
        }
        for component in COMPONENTS {
            let stack = self.stack();
            if let Ok(service) = stack.service(component)
                && service.runs()
            {
                service.thaw().unwrap();
            }
        }
        let broker = self.stack().broker().unwrap();
        if broker.pid().is_some() && broker.thaw().is_ok() {
            broker.detach().unwrap();
        }
        self.start_all();
    }

    /// Starts every component that has ended.
    pub fn start_all(&self) {
        self.change(|stack| stack.start_all(&COMPONENTS)).unwrap();
    }

    fn data(&self, store: Component) -> PathBuf {
        self.stack().folder(store).join("data")
    }

    /// Fills the file system of a store.
    pub fn fill_disk(&self, store: Component) {
        fill(&self.data(store));
    }

    /// Removes what [`Running::fill_disk`] wrote.
    pub fn empty_disk(&self, store: Component) {
        empty(&self.data(store));
    }

    /// Writes the transactions of captures to Kafka, as those of a node.
    pub fn replay(&self, node: &str, captures: &[PathBuf]) {
        shell::output(&mut replay(&self.brokers, node, captures)).unwrap();
    }

    /// Starts what [`Running::replay`] runs, and kills it after some time.
    pub fn replay_and_kill(&self, node: &str, captures: &[PathBuf], after: Duration) {
        let mut child =
            replay(&self.brokers, node, captures).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(after);
        shell::end(&mut child);
    }

    /// Writes records, some with each checkpoint, until the value that it returns is dropped. Not as fast as it could: every
    /// check afterwards reads all of them.
    pub fn load(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (brokers, stopped) = (self.brokers.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let node = format!("load-{}", NODES.fetch_add(1, Ordering::Relaxed));
                // It fails while the broker is away.
                let _ = shell::output(&mut replay(&brokers, &node, &[lab_capture()]));
                thread::park_timeout(LOAD_PAUSE);
            }
        });
        Load { stop, thread: Some(thread) }
    }

    /// Writes lines that are no transactions.
    pub fn write_malformed(&self, lines: &str) {
        self.write_lines(&["-t", "dns.normalized"], lines);
        self.malformed.fetch_add(lines.lines().count() as u64, Ordering::SeqCst);
    }

    /// Writes records with their keys to a topic.
    pub fn write(&self, topic: &str, records: &[(String, Value)]) {
        let lines: Vec<_> =
            records.iter().map(|(key, record)| format!("{key}\t{record}\n")).collect();
        self.write_lines(&["-t", topic, "-K", "\t"], &lines.concat());
    }

    /// Writes lines with `kcat -P` and these words.
    pub fn write_lines(&self, words: &[&str], lines: &str) {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.brokers, "-P"]).args(words).stdin(Stdio::piped());
        let mut child = kcat.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Committed records of a topic, one text each.
    pub fn topic(&self, name: &str) -> Vec<String> {
        kafka::committed(&self.brokers, name, "beginning").unwrap()
    }

    /// Newest records of the stream ledger of a job: those of the last minute at least, so that waiting does not read the
    /// whole topic again and again.
    pub fn ledgers(&self, job: &str) -> Vec<Value> {
        let all = kafka::committed(&self.brokers, "dns.stream.ledger", "-600").unwrap().into_iter();
        let mut ledgers: Vec<Value> =
            all.map(|text| serde_json::from_str(&text).unwrap()).collect();
        ledgers.retain(|ledger| ledger["job"] == job);
        ledgers
    }

    /// The newest of these: the one that has counted most of a topic.
    pub fn ledger(&self, job: &str, topic: &str) -> Option<Value> {
        let records = |ledger: &Value| ledger["input"][topic]["records"].as_u64();
        self.ledgers(job).into_iter().max_by_key(records)
    }

    /// Waits until the ledger of a job has counted every record of a topic; returns it.
    pub fn caught_up(&self, job: &str, topic: &str, total: u64) -> Value {
        let waited = shell::wait_for(&format!("a ledger of {total} records"), CAUGHT_UP, || {
            thread::sleep(Duration::from_millis(200));
            let ledger = self.ledger(job, topic);
            Ok(ledger.filter(|ledger| ledger["input"][topic]["records"] == total))
        });
        assert!(waited.is_ok(), "the newest is {:?}", self.ledger(job, topic));
        waited.unwrap()
    }

    /// Waits for `count` completed checkpoints of the job `enrich`.
    pub fn checkpoints(&self, count: usize) {
        self.checkpoints_of(jobs::ENRICH, count);
    }

    /// Waits for `count` more records of the ledger of a job, so as many completed checkpoints.
    pub fn checkpoints_of(&self, job: &str, count: usize) {
        let ts = |ledger: &Value| ledger["ts"].as_str().map(str::to_owned);
        let before = self.ledgers(job).iter().filter_map(ts).max();
        shell::wait_for(&format!("checkpoints of {job}"), CAUGHT_UP, || {
            thread::sleep(Duration::from_millis(200));
            let mut ledgers = self.ledgers(job);
            ledgers.retain(|ledger| ts(ledger) > before);
            Ok((ledgers.len() >= count).then_some(()))
        })
        .unwrap();
    }

    /// Runs `dnscribe ledger verify` from the brokers to the three stores; returns what it prints.
    pub fn verify(&self) -> Output {
        let brokers = self.brokers.clone();
        let address = |component| self.stack().address(component).unwrap();
        let influxdb = address(Component::InfluxDb);
        let [url, org, bucket, token] =
            ["url", "org", "bucket", "token"].map(|name| influxdb[name].as_str().unwrap());
        let mut verify = Command::new(environment::binary().unwrap());
        verify.args(["ledger", "verify", "--brokers", &brokers]);
        verify.args(["--store", address(Component::ClickHouse).as_str().unwrap()]);
        verify.args(["--store", address(Component::TimescaleDb).as_str().unwrap()]);
        verify.args(["--store", &format!("influx:{url}/?org={org}&bucket={bucket}")]);
        verify.env("INFLUX_TOKEN", token).output().unwrap()
    }

    /// Runs a statement in a database of `TimescaleDB`; returns its rows, one a line with `|` between columns.
    pub fn timescaledb_database(&self, database: &str, statement: &str) -> String {
        let folder = self.stack().folder(Component::TimescaleDb);
        let server = self.stack().service(Component::TimescaleDb).unwrap().clone();
        let connection = format!("dbname={database} user={}", timescaledb::DATABASE);
        timescaledb::query_as(&folder, &server, &connection, statement).unwrap()
    }

    /// Runs a query of `InfluxDB` in Flux; returns its result as CSV.
    pub fn influxdb(&self, query: &str) -> String {
        let influxdb = self.stack().address(Component::InfluxDb).unwrap();
        let [url, org, token] =
            ["url", "org", "token"].map(|name| influxdb[name].as_str().unwrap());
        let headers = format!(
            "Authorization: Token {token}\r\nContent-Type: application/vnd.flux\r\nAccept: application/csv\r\n"
        );
        let address: SocketAddr = url["http://".len()..].parse().unwrap();
        let path = format!("/api/v2/query?org={org}");
        let answer = http::send(address, "POST", &path, &headers, query.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Runs a query of `ClickHouse`; returns the lines of its result.
    pub fn clickhouse(&self, query: &str) -> Vec<String> {
        self.clickhouse_database("dns", query)
    }

    /// Runs a query of a database of `ClickHouse`; returns the lines of its result.
    pub fn clickhouse_database(&self, database: &str, query: &str) -> Vec<String> {
        let url = self.stack().address(Component::ClickHouse).unwrap();
        let address: SocketAddr = url.as_str().unwrap()["http://".len()..].parse().unwrap();
        let path = format!("/?database={database}");
        let answer = http::send(address, "POST", &path, "", query.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body.lines().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stack = self.stack.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = stack.take() {
            for (store, _) in STORES {
                unmount(&stack.folder(store).join("data"));
            }
            // A failing test says more than a failing end.
            let _ = stack.down();
        }
    }
}

/// The stack, for reading.
struct MappedStack<'a>(RwLockReadGuard<'a, Option<Stack>>);

impl Deref for MappedStack<'_> {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0.as_ref().unwrap()
    }
}

/// Records that are written in the background.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}

fn replay(brokers: &str, node: &str, captures: &[PathBuf]) -> Command {
    let mut replay = Command::new(environment::binary().unwrap());
    replay.arg("replay").args(captures).args(["--sink", "kafka", "--brokers", brokers]);
    replay.args(["--stream", "transactions,ledger"]).env("DNSCRIBE_NODE", node);
    replay
}
