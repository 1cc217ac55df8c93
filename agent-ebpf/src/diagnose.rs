//! Diagnostics of rare events, as log lines of the agent (`aya-log`). Off unless the agent sets the global
//! `AYA_LOG_LEVEL` before loading: the verifier then removes the code.
//!
//! The functions are not inlined, because a log line needs much of the stack. Not for the tap's programs:
//! before Linux 6.0, some architectures refuse calls of functions beside tail calls.

use aya_log_ebpf::trace;

/// Logs that the kernel had no memory for the state of a socket.
#[inline(never)]
pub fn no_socket_state() {
    trace!((), "no memory for the state of a socket: its owner is looked up for each packet");
}

/// Logs a packet whose first byte is of no IP version.
#[inline(never)]
pub fn unknown_ip_version(first_byte: u8) {
    trace!((), "packet of no IP version: first byte {:x}", first_byte);
}
