//! The task manager is killed between a checkpoint and the commits of its Kafka transactions: before
//! the broker has got the commit, and after that, before Flink has got the answer.

use crate::accounts;
use crate::proxy::Fault;
use crate::running::{CAUGHT_UP, Shared};
use dnscribe_tests::shell;

/// Kills at each of the two places. `DNSCRIBE_COMMIT_KILLS` has another number for long runs.
const KILLS: u32 = 1;

#[test]
fn no_transaction_is_lost_when_flink_is_killed_while_it_commits() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.alone();
    let kills = std::env::var("DNSCRIBE_COMMIT_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    for fault in [Fault::HoldCommits, Fault::HoldAnswers] {
        for _ in 0..kills {
            let load = running.load();
            running.checkpoints(1);
            running.proxy.inject(fault);
            let held = || Ok((running.proxy.held() > 0).then_some(()));
            shell::wait_for("a commit", CAUGHT_UP, held).unwrap();
            running.flink().task_manager().kill().unwrap();
            running.proxy.pass();
            running.start_all();
            running.checkpoints(1);
            drop(load);
            accounts::check(&running);
        }
    }
}
