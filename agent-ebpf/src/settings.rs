//! Settings that the agent writes before loading. Reads are volatile, because the compiler would otherwise use the
//! zeros of the object.

use dnscribe_common::globals::{SETTINGS as COUNT, Setting};

#[unsafe(no_mangle)]
static SETTINGS: [u32; COUNT] = [0; COUNT];

/// Returns the value of a setting.
#[inline(always)]
pub fn get(setting: Setting) -> u32 {
    let all = &raw const SETTINGS;
    // SAFETY: every `Setting` is below `COUNT`; the verifier checks the access again.
    unsafe { all.cast::<u32>().add(setting as usize).read_volatile() }
}
