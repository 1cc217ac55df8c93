//! The model between those that feed it and the one that draws it.

use super::model::Model;
use crate::time::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a feeder steps back for the one that draws.
const COURTESY: Duration = Duration::from_micros(200);

/// A model that grows while it is drawn.
#[derive(Debug, Default)]
pub struct Shared {
    model: Mutex<Model>,
    /// Raised by whoever wants to draw: locks are not fair, and feeders hardly ever let go.
    drawing: AtomicBool,
    ended: AtomicBool,
    /// Whether time passes by this host's clock, and not by the records alone.
    by_the_clock: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For feeders.
    pub fn feed(&self, feed: impl FnOnce(&mut Model)) {
        while self.drawing.load(Ordering::Relaxed) {
            thread::sleep(COURTESY);
        }
        feed(&mut self.lock());
    }

    /// For the one that draws; time has passed.
    pub fn look<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        self.drawing.store(true, Ordering::Relaxed);
        let mut model = self.lock();
        self.drawing.store(false, Ordering::Relaxed);
        if self.by_the_clock.load(Ordering::Relaxed) && !self.has_ended() {
            model.tick(Timestamp::now());
        }
        look(&mut model)
    }

    /// From now on time passes by this host's clock.
    pub fn go_by_the_clock(&self) {
        self.by_the_clock.store(true, Ordering::Relaxed);
    }

    /// There will be no more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether there will be no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
