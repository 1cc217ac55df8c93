//! The agent's allocator, and how often it was asked for memory.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tikv_jemallocator::Jemalloc;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Jemalloc, with its calls counted once that was asked for.
pub struct Counting;

/// Counts from the next [`reset`] on.
pub fn count() {
    ON.store(true, Ordering::Relaxed);
}

/// Begins again at 0.
pub fn reset() {
    COUNT.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
}

/// Counts no more.
pub fn stop() {
    ON.store(false, Ordering::Relaxed);
}

/// How often memory was asked for, and how many octets of it.
pub fn counted() -> (u64, u64) {
    (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

fn note(bytes: usize) {
    if ON.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }
}

// SAFETY: every call goes to Jemalloc as it came, and its answer back; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps `alloc`'s terms, which are Jemalloc's.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above; `at` came from Jemalloc.
        unsafe { Jemalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { Jemalloc.dealloc(at, layout) }
    }
}
