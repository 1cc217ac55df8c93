//! Runs each test in a process of its own, several at once.
//!
//! Each process has a cgroup of its own, which it sees as the root of the cgroup2 hierarchy. So an agent that captures
//! the whole host captures this test alone, and tests that mostly wait can run side by side. Where one fails or takes
//! too long beside others, which take the processor from it, it runs again alone, and that result counts.

use super::results::TestResult;
use super::{Program, Tier};
use crate::process::as_root;
use crate::{cgroup, console};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::environment::LEFT_OUT;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::{environment, shell};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{Read as _, Seek as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Tests run at the same time on each core: most of them wait most of the time.
const TESTS_PER_CORE: usize = 3;
/// Tests that measure times or load, and need the machine to themselves. They run one at a time, after the others.
const ALONE: &[&str] = &[
    "e2e blocked::blocked_readers_and_sinks_do_not_hold_up_the_ring",
    "e2e latency::latencies_match_tshark",
    "e2e load::counts_queries_with_two_threads",
    "e2e load::counts_ten_thousand_tcp_queries",
    "e2e load::counts_ten_thousand_udp_queries",
    "e2e overload::samples_equally_with_several_threads",
    "e2e overload::samples_whole_transactions_with_exact_totals",
    "e2e privileges::drops_root_privileges_within_a_second",
    "e2e reloading::reload_of_ports_times_out_no_query",
    "e2e reloading::reload_of_ports_times_out_no_query_with_threads",
];
/// Runs `$3…` in the new cgroup `$2`, with this cgroup in place of the root at the mount `$1` of cgroup2. The process is
/// in a child of that cgroup, because a cgroup with controllers cannot have processes and children. Afterwards it ends
/// what the test has left running.
const ISOLATE: &str = r#"
mount=$1 group=$2; shift 2
mkdir "$group" || exit
(
    echo 0 > "$group/cgroup.procs" || exit
    exec unshare --cgroup --mount --propagation unchanged -- sh -ec '
        mount --make-private "$0"
        mount --bind "$1" "$0"
        shift
        mkdir "$0/test"
        echo 0 > "$0/test/cgroup.procs"
        exec "$@"
    ' "$mount" "$group" "$@"
)
status=$?
echo 1 > "$group/cgroup.kill"
for try in 1 2 3 4 5 6 7 8 9 10; do
    find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break
    sleep 0.1
done
exit $status
"#;

/// A test of a program.
struct Test<'a> {
    program: &'a Program,
    /// Path of the test function in its program.
    name: String,
}

/// Tests that wait for a process, and results of those that have run.
struct Pool<'a> {
    waiting: Mutex<VecDeque<Test<'a>>>,
    /// Tests that failed or took too long.
    failed: Mutex<Vec<Test<'a>>>,
    results: Mutex<Vec<TestResult>>,
    mount: PathBuf,
    binary: &'a Path,
}

/// Runs all tests of these programs and returns their results. `binary` is the agent.
pub fn run(programs: &[&Program], binary: &Path) -> Result<Vec<TestResult>> {
    let mut tests = Vec::new();
    for program in programs {
        tests.extend(list(program)?);
    }
    let times = environment::target().join("test-times.json");
    // Of an earlier run.
    let mut seconds: BTreeMap<String, f64> = fs::read(&times)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    // The longest first, so that none is left for the end. A test without a known time may be long.
    let known = |test: &Test| seconds.get(&test.id()).copied().unwrap_or(f64::MAX);
    tests.sort_by(|one, other| known(other).total_cmp(&known(one)));
    let (alone, together): (Vec<_>, Vec<_>) =
        tests.into_iter().partition(|test| ALONE.contains(&test.id().as_str()));
    // Asks for a password once, before the processes start.
    shell::pass_through(&mut as_root("true")?)?;
    let mut pool = Pool {
        waiting: Mutex::default(),
        failed: Mutex::default(),
        results: Mutex::default(),
        mount: cgroup::mount()?,
        binary,
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    pool.run(together, cores * TESTS_PER_CORE)?;
    let again =
        std::mem::take(&mut pool.failed).into_inner().unwrap_or_else(PoisonError::into_inner);
    pool.run(alone, 1)?;
    pool.run(again, 1)?;
    let results = pool.results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let passed = results.iter().filter(|result| result.passed);
    seconds.extend(passed.map(|result| (result.id.clone(), result.time.as_secs_f64())));
    fs::write(&times, serde_json::to_vec_pretty(&seconds)?).context("cannot store the times")?;
    Ok(results)
}

/// Returns the tests of a program.
fn list(program: &Program) -> Result<Vec<Test<'_>>> {
    let mut list = Command::new(&program.file);
    list.args(["--list", "--format", "terse"]).current_dir(&program.folder);
    let text = String::from_utf8(shell::output(&mut list)?.stdout)?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let tests: Vec<_> = names.map(|name| Test { program, name: name.to_owned() }).collect();
    check_alone(program, &tests)?;
    Ok(tests)
}

/// Checks that [`ALONE`] names no test that this program does not have.
fn check_alone(program: &Program, tests: &[Test]) -> Result<()> {
    let prefix = format!("{} ", program.name);
    for name in ALONE.iter().filter(|name| name.starts_with(&prefix)) {
        if !tests.iter().any(|test| test.id() == *name) {
            bail!("xtask/src/test/isolated.rs names a test that does not exist: {name}");
        }
    }
    Ok(())
}

impl Test<'_> {
    /// Program and name, for messages.
    fn id(&self) -> String {
        format!("{} {}", self.program.name, self.name)
    }
}

impl<'a> Pool<'a> {
    /// Runs tests in this number of processes at a time.
    fn run(&mut self, tests: Vec<Test<'a>>, processes: usize) -> Result<()> {
        self.waiting = Mutex::new(tests.into());
        let pool = &*self;
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..processes).map(|number| scope.spawn(move || pool.work(number))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            })
        })
    }

    /// Runs waiting tests one after the other until there are none.
    fn work(&self, number: usize) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut broker = None;
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(test) = next else { return Ok(()) };
            if test.program.tier == Tier::Kafka && broker.is_none() {
                broker = Some(Broker::up(folder.path())?);
            }
            self.run_one(test, number, broker.as_ref())?;
        }
    }

    /// Runs a test and prints its result; its output only if it failed. `broker` is one that the test may use.
    fn run_one(&self, test: Test<'a>, number: usize, broker: Option<&Broker>) -> Result<()> {
        let group = self.mount.join(format!("dnscribe-test-{}-{number}", std::process::id()));
        let mut output = tempfile::tempfile()?;
        let mut command = as_root("sh")?;
        command.args(["-c", ISOLATE, "sh"]).args([&self.mount, &group, &test.program.file]);
        command.args(["--exact", &test.name, "--nocapture"]);
        command.current_dir(&test.program.folder);
        super::name_programs(&mut command, self.binary);
        if let Some(broker) = broker {
            broker.lend(&mut command)?;
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let start = Instant::now();
        let status =
            command.status().with_context(|| format!("cannot start `sh` for {}", test.id()))?;
        let time = start.elapsed();
        output.rewind()?;
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // A name that selects no test would pass too.
        let passed = status.success() && text.contains("test result: ok. 1 passed");
        let left_out = text.lines().find_map(|line| line.strip_prefix(LEFT_OUT)).map(str::to_owned);
        let panic = (!passed).then(|| TestResult::panic_in(&text)).flatten();
        let tier = test.program.tier;
        let result = TestResult { tier, id: test.id(), time, passed, left_out, panic };
        let (id, seconds) = (&result.id, time.as_secs_f64());
        console::progress(&if passed {
            format!("test {id} ... ok ({seconds:.1} s)")
        } else {
            format!("{text}\ntest {id} ... FAILED ({status}, {seconds:.1} s)")
        });
        if !passed {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(test);
        }
        self.results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        Ok(())
    }
}
