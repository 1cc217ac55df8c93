//! What `stack up --demo` adds to the stack: live DNS becomes rows.

use crate::accounts;
use crate::running::Shared;
use dnscribe_tests::shell;
use std::thread;
use std::time::Duration;

/// Time within which a new user sees rows.
const ROWS: Duration = Duration::from_secs(120);

#[test]
fn rows_flow_from_live_dns() {
    let Some(shared) = Shared::get() else { return };
    let mut running = shared.lock();
    // The second start changes nothing.
    for _ in 0..2 {
        running.stack().start_demo().unwrap();
    }
    let query = "SELECT countIf(rcode = 'NOERROR') > 50 AND countIf(rcode = 'NXDOMAIN') > 5
        FROM dns_transactions FINAL WHERE node = 'demo'";
    let rows = shell::wait_for("rows of live transactions", ROWS, || {
        thread::sleep(Duration::from_millis(500));
        Ok((running.clickhouse(query) == ["1"]).then_some(()))
    });
    running.stack().stop_demo().unwrap();
    rows.unwrap();
    accounts::check(&mut running);
    accounts::check_balance(&mut running);
}
