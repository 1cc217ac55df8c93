//! The jobs are stopped with a savepoint and go on from it, with another parallelism.

use crate::accounts;
use crate::running::Shared;
use dnscribe_tests::stack::jobs;

#[test]
fn an_upgraded_job_goes_on_where_the_former_one_stopped() {
    let Some(shared) = Shared::get() else { return };
    let mut running = shared.lock();
    let load = running.load();
    running.checkpoints(1);
    for parallelism in [2, 1] {
        jobs::upgrade(running.stack(), parallelism).unwrap();
        running.checkpoints(1);
    }
    drop(load);
    accounts::check(&mut running);
    // Threads of the former jobs would keep their classes.
    let mut threads = running.flink().threads().unwrap();
    assert!(threads.iter().any(|name| name.starts_with("kafka-producer")), "{threads:?}");
    threads.retain(|name| name.starts_with("kafka-admin-client"));
    assert_eq!(threads, [""; 0]);
}
