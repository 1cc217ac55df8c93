//! Who is running.

use crate::settings;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
    bpf_probe_read_kernel,
};
use core::ffi::c_void;
use dnscribe_common::globals::{Setting, TASK_BTF, TASK_HELPERS};
use dnscribe_common::owner::Owner;

/// The current task, if the kernel lets this kind of program ask. Never the idle task.
#[inline(always)]
pub fn current(how: Setting) -> Option<Owner> {
    let mut owner = Owner { pid: 0, uid: 0, comm: [0; 16] };
    match settings::get(how) {
        TASK_HELPERS => by_helpers(&mut owner),
        TASK_BTF => by_btf(&mut owner),
        _ => {}
    }
    (owner.pid != 0).then_some(owner)
}

#[inline(always)]
fn by_helpers(owner: &mut Owner) {
    // SAFETY: a helper without conditions.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    owner.pid = (ids >> 32) as u32;
    // SAFETY: as above.
    owner.uid = unsafe { bpf_get_current_uid_gid() } as u32;
    // A thread may have a name of its own, which says little: dig's are called isc-net-0000.
    if settings::get(Setting::TaskLeader) != 0 && owner.pid != ids as u32 {
        // SAFETY: as above.
        owner.comm = leader_name(unsafe { bpf_get_current_task() });
    } else {
        // SAFETY: the buffer is 16 octets long.
        unsafe { bpf_get_current_comm((&raw mut owner.comm).cast(), 16) };
    }
}

/// The name of a task's process.
#[inline(always)]
fn leader_name(task: u64) -> [u8; 16] {
    let leader: u64 = read(task, Setting::TaskLeader);
    read(leader, Setting::TaskComm)
}

#[inline(always)]
fn by_btf(owner: &mut Owner) {
    // SAFETY: a helper without conditions.
    let task = unsafe { bpf_get_current_task() };
    owner.pid = read(task, Setting::TaskTgid);
    owner.comm = leader_name(task);
    let cred: u64 = read(task, Setting::TaskCred);
    owner.uid = read(cred, Setting::CredUid);
}

/// Reads a field of a kernel object; zeros where the address is not mapped.
#[inline(always)]
pub fn read<T: Zero>(object: u64, field: Setting) -> T {
    read_at(object + u64::from(settings::get(field)))
}

#[inline(always)]
fn read_at<T: Zero>(address: u64) -> T {
    let mut value = T::ZERO;
    // SAFETY: the helper copes with any address, and zeroes `value` where it fails.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as usize as *const c_void,
        );
    }
    value
}

/// The address of a socket as a plain number: the verifier refuses arithmetic on the pointer that
/// it knows to be a socket, so it is spilled and read back as data.
#[inline(always)]
pub fn address_of<T>(socket: *mut T) -> u64 {
    let slot = socket;
    let mut address = 0u64;
    // SAFETY: reads the eight octets of `slot`.
    unsafe { bpf_probe_read_kernel((&raw mut address).cast(), 8, (&raw const slot).cast()) };
    address
}

/// Plain data with an all-zero value.
pub trait Zero {
    const ZERO: Self;
}

impl Zero for u16 {
    const ZERO: Self = 0;
}
impl Zero for u32 {
    const ZERO: Self = 0;
}
impl Zero for i32 {
    const ZERO: Self = 0;
}
impl Zero for u64 {
    const ZERO: Self = 0;
}
impl<const N: usize> Zero for [u8; N] {
    const ZERO: Self = [0; N];
}
