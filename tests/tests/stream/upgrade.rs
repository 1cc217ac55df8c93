//! The jobs are stopped with a savepoint and go on from it, with another parallelism.

use crate::accounts;
use crate::running::Shared;
use dnscribe_tests::stack::jobs;

#[test]
fn an_upgraded_job_goes_on_where_the_former_one_stopped() {
    let Some(shared) = Shared::get() else { return };
    let mut running = shared.lock();
    for parallelism in [2, 1] {
        let load = running.load();
        running.checkpoints(1);
        jobs::upgrade(running.stack(), parallelism).unwrap();
        running.checkpoints(1);
        drop(load);
        accounts::check(&mut running);
    }
}
