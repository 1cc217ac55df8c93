//! The current task, and its process.

use crate::settings;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_get_current_uid_gid, bpf_ktime_get_boot_ns, bpf_probe_read_kernel,
};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use dnscribe_common::globals::{Setting, TASK_BTF, TASK_HELPERS, TASK_TYPED};
use dnscribe_common::owner::Owner;

/// Returns the current task's process, if the kernel offers it to this program type. Never the idle task.
#[inline(always)]
pub fn current(how: Setting) -> Option<Owner> {
    // Not zeroed first, which would be a loop: every field is written if the result is `true`.
    let mut owner = MaybeUninit::<Owner>::uninit();
    let is_written = match settings::get(how) {
        TASK_TYPED => read_typed(owner.as_mut_ptr()),
        TASK_HELPERS => read_with_helpers(owner.as_mut_ptr()),
        TASK_BTF => read_with_btf(owner.as_mut_ptr()),
        _ => false,
    };
    // SAFETY: every field is written.
    is_written.then(|| unsafe { owner.assume_init() })
}

/// Age up to which the parent of a process is read, in nanoseconds. The agent finds older processes in `/proc`,
/// and reading the parent costs some hundred nanoseconds.
const YOUNG_NS: u64 = 60_000_000_000;

/// Returns the process that forked the current task's process, if both run the same executable file; else 0.
/// After `exec`, a process has a file of its own, even of the same path. `owner` is the current task's.
#[inline(always)]
pub fn parent_of_same_exe(owner: &Owner) -> u32 {
    if settings::get(Setting::MmExe) == 0 || owner.start_ns == 0 {
        return 0;
    }
    // SAFETY: helpers without conditions.
    let (now, task) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_current_task()) };
    if now.saturating_sub(owner.start_ns) > YOUNG_NS {
        return 0;
    }
    let leader: u64 = read(task, Setting::TaskLeader);
    let parent: u64 = read(leader, Setting::TaskParent);
    let (own, other) = (exe(leader), exe(parent));
    if own == 0 || own != other { 0 } else { read(parent, Setting::TaskTgid) }
}

/// Address of the `struct file` that a task executes; 0 for kernel threads.
#[inline(always)]
fn exe(task: u64) -> u64 {
    read(read(task, Setting::TaskMm), Setting::MmExe)
}

/// Reads the task as [`read_with_btf`] does, in an eighth of the time: one helper call, and loads.
#[inline(always)]
fn read_typed(owner: *mut Owner) -> bool {
    // SAFETY: a helper without conditions.
    let task = unsafe { bpf_get_current_task_btf() };
    let pid: u32 = load(task, Setting::TaskTgid);
    if pid == 0 {
        return false;
    }
    let cred: *const c_void = load(task, Setting::TaskCred);
    let leader: *const c_void = load(task, Setting::TaskLeader);
    let known = settings::get(Setting::TaskStart) != 0;
    // SAFETY: `owner` points to an `Owner`, whose name is two aligned words.
    unsafe {
        (&raw mut (*owner).pid).write(pid);
        (&raw mut (*owner).uid).write(load(cred, Setting::CredUid));
        (&raw mut (*owner).start_ns).write(if known {
            load(leader, Setting::TaskStart)
        } else {
            0
        });
        let comm = (&raw mut (*owner).comm).cast::<u64>();
        comm.write(load_at(leader, settings::get(Setting::TaskComm)));
        comm.add(1).write(load_at(leader, settings::get(Setting::TaskComm) + 8));
    }
    true
}

/// Loads a field of a kernel object whose type the verifier knows; zeros if the address is not mapped
/// (`BPF_PROBE_MEM`).
#[inline(always)]
pub fn load<T: Copy, U>(object: *const U, field: Setting) -> T {
    load_at(object, settings::get(field))
}

#[inline(always)]
fn load_at<T: Copy, U>(object: *const U, offset: u32) -> T {
    // SAFETY: the verifier accepts the load only if the object has a field of this size there; the agent enables
    // this only for aligned fields.
    unsafe { object.cast::<u8>().add(offset as usize).cast::<T>().read_volatile() }
}

#[inline(always)]
fn read_with_helpers(owner: *mut Owner) -> bool {
    // SAFETY: a helper without conditions.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    let pid = (ids >> 32) as u32;
    if pid == 0 {
        return false;
    }
    // SAFETY: `owner` points to an `Owner`, whose name has 16 bytes; helpers without conditions.
    unsafe {
        (&raw mut (*owner).pid).write(pid);
        (&raw mut (*owner).uid).write(bpf_get_current_uid_gid() as u32);
        if settings::get(Setting::TaskLeader) == 0 {
            bpf_get_current_comm((&raw mut (*owner).comm).cast(), 16);
            (&raw mut (*owner).start_ns).write(0);
            return true;
        }
        let task = bpf_get_current_task();
        if pid == ids as u32 {
            bpf_get_current_comm((&raw mut (*owner).comm).cast(), 16);
            read_start(task, owner);
        } else {
            // Thread names do not identify a program: those of dig are isc-net-0000.
            read_leader(task, owner);
        }
    }
    true
}

#[inline(always)]
fn read_with_btf(owner: *mut Owner) -> bool {
    // SAFETY: a helper without conditions.
    let task = unsafe { bpf_get_current_task() };
    let pid: u32 = read(task, Setting::TaskTgid);
    if pid == 0 {
        return false;
    }
    let cred: u64 = read(task, Setting::TaskCred);
    // SAFETY: `owner` points to an `Owner`.
    unsafe {
        (&raw mut (*owner).pid).write(pid);
        (&raw mut (*owner).uid).write(read(cred, Setting::CredUid));
        read_leader(task, owner);
    }
    true
}

/// Reads name and start time of a task's process: those of its first thread.
///
/// # Safety
/// `owner` must point to memory of an `Owner`.
#[inline(always)]
unsafe fn read_leader(task: u64, owner: *mut Owner) {
    let leader: u64 = read(task, Setting::TaskLeader);
    // SAFETY: the caller passes a valid pointer.
    unsafe {
        read_into(leader, Setting::TaskComm, &raw mut (*owner).comm);
        read_start(leader, owner);
    }
}

/// Reads the start time of a process from its first thread.
///
/// # Safety
/// `owner` must point to memory of an `Owner`.
#[inline(always)]
unsafe fn read_start(leader: u64, owner: *mut Owner) {
    let known = settings::get(Setting::TaskStart) != 0;
    let start_ns = if known { read(leader, Setting::TaskStart) } else { 0 };
    // SAFETY: the caller passes a valid pointer.
    unsafe { (&raw mut (*owner).start_ns).write(start_ns) };
}

/// Reads a field of a kernel object; zeros if the address is not mapped.
#[inline(always)]
pub fn read<T: Plain>(object: u64, field: Setting) -> T {
    read_at(object + u64::from(settings::get(field)))
}

/// Reads kernel memory; zeros if the address is not mapped.
#[inline(always)]
pub fn read_at<T: Plain>(address: u64) -> T {
    let mut value = MaybeUninit::uninit();
    copy_from(address, value.as_mut_ptr());
    // SAFETY: the helper wrote every byte, and any bytes are a valid `T`.
    unsafe { value.assume_init() }
}

#[inline(always)]
fn read_into<T: Plain>(object: u64, field: Setting, into: *mut T) {
    copy_from(object + u64::from(settings::get(field)), into);
}

#[inline(always)]
fn copy_from<T: Plain>(address: u64, into: *mut T) {
    // SAFETY: the helper accepts any address, and zeroes `into` if it fails.
    unsafe {
        bpf_probe_read_kernel(
            into.cast(),
            size_of::<T>() as u32,
            address as usize as *const c_void,
        );
    }
}

/// Returns the address of a socket as a number. The verifier refuses arithmetic on a socket pointer, so it is
/// spilled and read back as data.
#[inline(always)]
pub fn address_of<T>(socket: *mut T) -> u64 {
    let slot = socket;
    let mut address = 0u64;
    // SAFETY: reads the eight bytes of `slot`.
    unsafe { bpf_probe_read_kernel((&raw mut address).cast(), 8, (&raw const slot).cast()) };
    address
}

/// Types for which all bit patterns are valid.
pub trait Plain: Copy {}

impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl<const N: usize> Plain for [u8; N] {}
