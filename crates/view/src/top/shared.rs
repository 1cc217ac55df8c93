//! The model, shared by the threads that feed it and the one that draws it.

use super::model::Model;
use dnscribe_record::time::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Time that a feeding thread yields to the drawing one.
const YIELD_TIME: Duration = Duration::from_micros(200);

/// A model that is fed while it is drawn.
#[derive(Debug, Default)]
pub struct Shared {
    model: Mutex<Model>,
    /// Set while a thread waits to draw: mutexes are not fair, and feeding threads rarely release it.
    drawing: AtomicBool,
    ended: AtomicBool,
    /// Whether time follows this host's clock, not the records.
    has_wall_clock: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records to the model, once the screen has read it.
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
        if self.has_wall_clock.load(Ordering::Relaxed) && !self.has_ended() {
            model.tick(Timestamp::now());
        }
        read(&mut model)
    }

    /// Lets time follow this host's clock from now on.
    pub fn use_wall_clock(&self) {
        self.has_wall_clock.store(true, Ordering::Relaxed);
    }

    /// Tells the screen that no more records come.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Returns whether no more records come.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
