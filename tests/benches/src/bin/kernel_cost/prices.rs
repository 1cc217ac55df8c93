//! CPU time of each helper, map operation and kind of instruction.

use crate::baseline::Baseline;
use crate::{Failure, Figures, RING_BYTES, frames, middle};

const BATCH: u32 = 10_000;
const BATCHES: usize = 9;

/// Runs programs that repeat one operation, and returns the time per operation.
pub fn measure() -> Result<Figures, Failure> {
    let mut baseline = Baseline::load(RING_BYTES)?;
    let frame = frames::all().swap_remove(0).bytes;
    let (names, times) = baseline.operation_programs();
    let mut figures = Figures::new();
    for name in names {
        let (mut all, mut empties) = (Vec::new(), Vec::new());
        for _ in 0..BATCHES {
            empties.push(f64::from(baseline.time("empty_cgroup", &frame, BATCH)?));
            all.push(f64::from(baseline.time(&name, &frame, BATCH)?));
        }
        let each = (middle(all) - middle(empties)) / f64::from(times);
        figures.insert(format!("{name}_ns"), each.into());
    }
    Ok(figures)
}
