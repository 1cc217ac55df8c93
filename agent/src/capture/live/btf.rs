//! Offsets of fields in kernel structs, and ids of kernel functions, from the kernel's BTF. The crate `btf-rs` is
//! not used since it is LGPL, and `aya-obj` does not expose the members of structs.
//!
//! Format: <https://www.kernel.org/doc/html/latest/bpf/btf.html>.

use std::io;
use std::ops::Range;
use std::path::Path;

/// File in which the kernel describes its types.
///
/// # Minimum kernel version
///
/// Linux 5.2, with `CONFIG_DEBUG_INFO_BTF`.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_CONST: u32 = 10;
const KIND_FUNCTION: u32 = 12;
/// Largest depth of nested anonymous members and typedefs.
const DEPTH: u32 = 16;

/// The types of a kernel.
pub struct Btf {
    /// The whole file: some megabytes.
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    /// Offset of each type in the type section; the first has id 1.
    type_offsets: Vec<u32>,
    /// Offsets of structs with members, which are searched by name.
    structs: Vec<u32>,
}

struct Type {
    name: u32,
    kind: u32,
    bitfields: bool,
    members: usize,
    /// Size, or the id of the type referred to.
    refers: u32,
    /// Offset of the members.
    tail: usize,
}

impl Btf {
    /// Reads the BTF of the running kernel.
    pub fn of_kernel() -> io::Result<Self> {
        Self::parse(std::fs::read(Path::new(KERNEL_BTF))?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not BTF"))
    }

    /// Reads BTF in this host's byte order; `None` where it is something else or cut off.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = number(&bytes, 4)?;
        let part = |start: usize, length: usize| {
            let from = to_usize(header)?.checked_add(to_usize(number(&bytes, start)?)?)?;
            let part = from..from.checked_add(to_usize(number(&bytes, length)?)?)?;
            bytes.get(part.clone()).map(|_| part)
        };
        let (types, strings) = (part(8, 12)?, part(16, 20)?);
        let mut btf = Self { bytes, types, strings, type_offsets: Vec::new(), structs: Vec::new() };
        let mut at = 0;
        while to_usize(at)? < btf.types.len() {
            let ty = btf.type_at(at)?;
            btf.type_offsets.push(at);
            if ty.kind == KIND_STRUCT && ty.members > 0 {
                btf.structs.push(at);
            }
            at = u32::try_from(ty.end()?).ok()?;
        }
        Some(btf)
    }

    /// Returns the offset in bytes of a member of a struct, of a member of that, and so on. Anonymous structs
    /// and unions are searched, too.
    pub fn offset(&self, name: &str, path: &[&str]) -> Option<u32> {
        let mut current = self.structs.iter().find_map(|&at| {
            let ty = self.type_at(at)?;
            self.is_named(ty.name, name).then_some(ty)
        })?;
        let mut bits = 0;
        for (step, member) in path.iter().enumerate() {
            let (at, id) = self.member(&current, member, 0)?;
            bits += at;
            if step + 1 < path.len() {
                current = self.resolve(id)?;
            }
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Returns the values of an enum with their names; none if the kernel lacks it.
    pub fn values_of(&self, name: &str) -> Vec<(u32, String)> {
        let found = self.type_offsets.iter().find_map(|&at| {
            let ty = self.type_at(at)?;
            (ty.kind == KIND_ENUM && ty.members > 0 && self.is_named(ty.name, name)).then_some(ty)
        });
        let Some(ty) = found else { return Vec::new() };
        let value = |index: usize| {
            let at = ty.tail + index * 8;
            let label = self.name_at(number(self.types(), at)?)?;
            Some((number(self.types(), at + 4)?, label))
        };
        (0..ty.members).filter_map(value).collect()
    }

    fn name_at(&self, at: u32) -> Option<String> {
        let rest = self.bytes[self.strings.clone()].get(to_usize(at)?..)?;
        let name = rest.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Returns the id of a kernel function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.id(KIND_FUNCTION, name)
    }

    /// Returns the id of a struct.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.id(KIND_STRUCT, name)
    }

    fn id(&self, kind: u32, name: &str) -> Option<u32> {
        let matches = |at: &u32| {
            self.type_at(*at).is_some_and(|ty| ty.kind == kind && self.is_named(ty.name, name))
        };
        let before = self.type_offsets.iter().position(matches)?;
        u32::try_from(before).ok()?.checked_add(1)
    }

    /// Returns the offset in bits, and the type id, of a member.
    fn member(&self, ty: &Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        if depth > DEPTH || !matches!(ty.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        (0..ty.members).find_map(|index| {
            let at = ty.tail + index * 12;
            let (label, id) = (number(self.types(), at)?, number(self.types(), at + 4)?);
            let raw = number(self.types(), at + 8)?;
            let bits = if ty.bitfields { raw & 0x00ff_ffff } else { raw };
            if label == 0 {
                let (inner, id) = self.member(&self.resolve(id)?, name, depth + 1)?;
                return Some((bits + inner, id));
            }
            self.is_named(label, name).then_some((bits, id))
        })
    }

    /// Returns the type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let ty = self.type_at(*self.type_offsets.get(to_usize(id)?.checked_sub(1)?)?)?;
            match ty.kind {
                KIND_TYPEDEF..=KIND_CONST => id = ty.refers,
                _ => return Some(ty),
            }
        }
        None
    }

    fn types(&self) -> &[u8] {
        &self.bytes[self.types.clone()]
    }

    fn type_at(&self, at: u32) -> Option<Type> {
        let at = to_usize(at)?;
        let info = number(self.types(), at + 4)?;
        Some(Type {
            name: number(self.types(), at)?,
            kind: info >> 24 & 31,
            bitfields: info >> 31 == 1,
            members: to_usize(info & 0xffff)?,
            refers: number(self.types(), at + 8)?,
            tail: at + 12,
        })
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        to_usize(at)
            .and_then(|at| self.bytes[self.strings.clone()].get(at..))
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

impl Type {
    /// Returns the offset of the next type.
    fn end(&self) -> Option<usize> {
        let tail = match self.kind {
            // Integers, variables, declaration tags.
            1 | 14 | 17 => 4,
            // Arrays.
            3 => 12,
            // Structs, unions, sections, 64-bit enums.
            KIND_STRUCT | KIND_UNION | 15 | 19 => self.members * 12,
            // Enums, function prototypes.
            KIND_ENUM | 13 => self.members * 8,
            // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        Some(self.tail + tail)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn to_usize(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_tests::environment;

    /// `struct lock { int spin; int owned; }` and
    /// `struct sock { int a; union { struct { int b; lock_t lock; }; }; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0lock\0spin\0owned\0lock_t\0sock\0a\0b\0";
        let name = |text: &str| {
            let needle = [&[0], text.as_bytes(), &[0]].concat();
            let at = strings.windows(needle.len()).position(|window| window == needle).unwrap();
            u32::try_from(at + 1).unwrap()
        };
        let aggregate = |kind: u32, members: u32| kind << 24 | members;
        #[rustfmt::skip]
        let types: Vec<u32> = vec![
            name("int"), 1 << 24, 4, 32,                                        // 1
            name("lock"), aggregate(4, 2), 8,                                   // 2
                name("spin"), 1, 0, name("owned"), 1, 32,
            name("lock_t"), 8 << 24, 2,                                         // 3
            0, aggregate(4, 2), 12, name("b"), 1, 0, name("lock"), 3, 32,       // 4
            0, aggregate(5, 1), 12, 0, 4, 0,                                    // 5
            name("sock"), aggregate(4, 2), 16, name("a"), 1, 0, 0, 5, 32,       // 6
        ];
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let lengths = [types.len(), strings.len()].map(|length| u32::try_from(length).unwrap());
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, lengths[0], lengths[0], lengths[1]] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_members_in_anonymous_types_and_typedefs() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("sock", &["a"]), Some(0));
        assert_eq!(btf.offset("sock", &["b"]), Some(4));
        assert_eq!(btf.offset("sock", &["lock", "owned"]), Some(12));
        assert_eq!(btf.offset("sock", &["owned"]), None);
        assert_eq!(btf.offset("socket", &["a"]), None);
        assert_eq!((btf.structure("lock"), btf.structure("sock")), (Some(2), Some(6)));
        assert_eq!((btf.structure("lock_t"), btf.function("sock")), (None, None));
    }

    #[test]
    fn truncated_input_does_not_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            let _ = Btf::parse(whole[..length].to_vec());
        }
        assert!(Btf::parse(b"ELF".to_vec()).is_none());
    }

    #[test]
    fn parses_btf_of_the_running_kernel() {
        if !Path::new(KERNEL_BTF).exists() {
            return environment::skip("this kernel has no BTF");
        }
        let btf = Btf::of_kernel().unwrap();
        assert!(btf.offset("sock", &["sk_lock", "owned"]).unwrap() > 0);
        assert!(btf.offset("task_struct", &["comm"]).unwrap() > 0);
        assert!(btf.offset("sock_common", &["skc_dport"]).unwrap() > 0);
        assert!(btf.structure("iphdr").is_some() && btf.structure("nosuch").is_none());
    }
}
