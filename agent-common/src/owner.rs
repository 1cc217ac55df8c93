//! Who owns a socket: the value of the map `OWNERS`, whose key is the socket cookie, and a part of what is
//! kept with a socket.

/// The task that bound, connected or last used a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Owner {
    /// Process id (thread group id) in the initial pid namespace; 0 is nobody.
    pub pid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// When the process started, in nanoseconds of `CLOCK_BOOTTIME`: with the pid it names the process
    /// for ever, as the pid alone does not. 0 where unknown.
    pub start_ns: u64,
    /// The process's name, NUL padded.
    pub comm: [u8; 16],
}

/// Octets of an [`Owner`].
pub const OWNER_BYTES: usize = 32;

const _: () = assert!(size_of::<Owner>() == OWNER_BYTES && align_of::<Owner>() == 8);

impl Owner {
    /// The octets of the map's value.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; OWNER_BYTES] {
        let mut bytes = [0; OWNER_BYTES];
        let [pid, uid] = [self.pid.to_ne_bytes(), self.uid.to_ne_bytes()];
        let all = pid.into_iter().chain(uid).chain(self.start_ns.to_ne_bytes()).chain(self.comm);
        for (place, octet) in bytes.iter_mut().zip(all) {
            *place = octet;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_as_the_kernel_side_does() {
        let owner = Owner { pid: 0x0102_0304, uid: 5, start_ns: 7, comm: *b"abcdefghijklmnop" };
        let bytes = owner.to_bytes();
        assert_eq!(bytes[..4], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 5_u32.to_ne_bytes());
        assert_eq!(bytes[8..16], 7_u64.to_ne_bytes());
        assert_eq!(&bytes[16..], b"abcdefghijklmnop");
    }
}
