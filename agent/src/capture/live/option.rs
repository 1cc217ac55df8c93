//! Socket options that rustix does not have.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Calls `setsockopt(2)` with a value in the kernel's layout.
///
/// # Errors
/// Returns the error of the system call.
pub(super) fn set<T>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: value and length belong together, and outlive the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
