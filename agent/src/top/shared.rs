//! The model, shared by the threads that feed it and the one that draws it.

use super::model::Model;
use dnscribe_record::time::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Time that a feeding thread yields to the drawing one.
const YIELD_TIME: Duration = Duration::from_micros(200);

/// A model that is fed while it is drawn.
#[derive(Debug)]
pub struct Shared {
    model: Mutex<Model>,
    /// Set while a thread waits to draw: mutexes are not fair, and feeding threads rarely release it.
    drawing: AtomicBool,
    ended: AtomicBool,
    /// Nanoseconds by which the view is behind this host's clock; `FOLLOWS_RECORDS` without a clock.
    clock_delay: AtomicU64,
}

/// Time follows the records, not a clock.
const FOLLOWS_RECORDS: u64 = u64::MAX;

impl Default for Shared {
    fn default() -> Self {
        Self {
            model: Mutex::default(),
            drawing: AtomicBool::default(),
            ended: AtomicBool::default(),
            clock_delay: AtomicU64::new(FOLLOWS_RECORDS),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn feed(&self, feed: impl FnOnce(&mut Model)) {
        while self.drawing.load(Ordering::Relaxed) {
            thread::sleep(YIELD_TIME);
        }
        feed(&mut self.lock());
    }

    /// Reads the model for drawing, after advancing its time.
    pub fn read<T>(&self, read: impl FnOnce(&mut Model) -> T) -> T {
        self.drawing.store(true, Ordering::Relaxed);
        let mut model = self.lock();
        self.drawing.store(false, Ordering::Relaxed);
        let delay = self.clock_delay.load(Ordering::Relaxed);
        if delay != FOLLOWS_RECORDS && !self.has_ended() {
            model.tick(Timestamp::now().minus(Duration::from_nanos(delay)));
        }
        read(&mut model)
    }

    /// Lets time follow this host's clock from now on, `delay` behind it.
    pub fn use_wall_clock(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(FOLLOWS_RECORDS);
        self.clock_delay.store(delay, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
