//! Calls of kernel functions in the programs (`BPF_PSEUDO_KFUNC_CALL`): the call has the function's number
//! among the kernel's types, which the loader that is used does not look up.

use super::btf::Btf;
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED};

/// Functions by what stands for them.
const FUNCTIONS: [(u32, &str); 2] =
    [(CALL_KERNEL_SKB, "bpf_cast_to_kern_ctx"), (CALL_TYPED, "bpf_rdonly_cast")];

/// Octets of an instruction.
const INSTRUCTION: usize = 8;

/// The functions' numbers, in the order of [`FUNCTIONS`].
pub type Numbers = [u32; FUNCTIONS.len()];

/// The numbers in this kernel, if it has all the functions.
pub fn numbers(btf: &Btf) -> Option<Numbers> {
    let [(_, first), (_, second)] = FUNCTIONS;
    Some([btf.function(first)?, btf.function(second)?])
}

/// The object with the functions' numbers put into its calls; without numbers, with moves in place of the
/// calls, for a kernel refuses even a call that nothing leads to.
pub fn put(object: &[u8], numbers: Option<Numbers>) -> Vec<u8> {
    let mut object = object.to_vec();
    // Sections of code begin at a multiple of an instruction.
    for instruction in object.as_chunks_mut::<INSTRUCTION>().0 {
        if let Some(place) = FUNCTIONS.iter().position(|(mark, _)| *instruction == call(*mark)) {
            let number = numbers.and_then(|numbers| numbers.get(place).copied());
            *instruction = number.map_or(MOVE, call);
        }
    }
    object
}

/// `r0 = r1`.
const MOVE: [u8; INSTRUCTION] = if cfg!(target_endian = "big") {
    [0xbf, 0x01, 0, 0, 0, 0, 0, 0]
} else {
    [0xbf, 0x10, 0, 0, 0, 0, 0, 0]
};

/// A call of the kernel function with this number.
const fn call(number: u32) -> [u8; INSTRUCTION] {
    let registers = if cfg!(target_endian = "big") { 0x02 } else { 0x20 };
    let [a, b, c, d] = number.to_ne_bytes();
    [0x85, registers, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_numbers_into_calls_and_nowhere_else() {
        let other = [0x85, 0, 0, 0, 1, 0x73, 0x6e, 0x64];
        let object = [call(CALL_TYPED), other, call(CALL_KERNEL_SKB), call(9)].concat();
        let with = put(&object, Some([5, 6]));
        assert_eq!(with, [call(6), other, call(5), call(9)].concat());
        assert_eq!(put(&object, None), [MOVE, other, MOVE, call(9)].concat());
    }
}
