//! Owner of a socket: the value of the map `OWNERS`, whose key is the socket cookie, and a part of the state
//! in socket storage.

use zerocopy::{Immutable, IntoBytes};

/// The task that bound, connected or last used a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C, align(8))]
pub struct Owner {
    /// Process id (thread group id) in the initial pid namespace; 0 where unknown.
    pub pid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Start time of the process, in nanoseconds of `CLOCK_BOOTTIME`; 0 where unknown. Identifies the process
    /// together with the pid, since pids are reused.
    pub start_ns: u64,
    /// Name of the process, padded with NUL.
    pub comm: [u8; 16],
}

/// Size of an [`Owner`], in bytes.
pub const OWNER_BYTES: usize = 32;

const _: () = assert!(size_of::<Owner>() == OWNER_BYTES && align_of::<Owner>() == 8);

impl Owner {
    /// Returns the value for the map, as words in the host's byte order.
    #[must_use]
    pub fn to_words(self) -> [u64; OWNER_BYTES / 8] {
        zerocopy::transmute!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_words_as_the_kernel_side_does() {
        let owner = Owner { pid: 0x0102_0304, uid: 5, start_ns: 7, comm: *b"abcdefghijklmnop" };
        let words = owner.to_words();
        let bytes = words.as_bytes();
        assert_eq!(bytes[..4], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 5_u32.to_ne_bytes());
        assert_eq!(bytes[8..16], 7_u64.to_ne_bytes());
        assert_eq!(&bytes[16..], b"abcdefghijklmnop");
    }
}
