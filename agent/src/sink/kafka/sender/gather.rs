//! Merges small batches.

use crate::sink::Batch;
use crate::sink::threaded::{Back, Taken};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Small batches are merged up to this many bytes.
const GATHER_BYTES: usize = 64 << 10;
/// Small batches are merged up to this many records.
const GATHER_RECORDS: usize = 4096;

/// Merges the small batches waiting in the queue into one. If it is still small, waits for `linger`
/// for more.
pub(super) fn gather(first: &Taken, back: &Back, linger: Duration) -> Arc<Batch> {
    let mut all = Arc::clone(&first.batch);
    fill(&mut all, back);
    if is_small(&all) && !linger.is_zero() {
        thread::sleep(linger);
        fill(&mut all, back);
    }
    all
}

fn is_small(batch: &Batch) -> bool {
    batch.size_bytes() < GATHER_BYTES && batch.len() < GATHER_RECORDS
}

/// Adds batches from the queue while there are any.
fn fill(all: &mut Arc<Batch>, back: &Back) {
    let mut ready = back.ready();
    while is_small(all)
        && let Some(next) = ready.next()
    {
        Arc::make_mut(all).extend(&next.batch);
    }
}
