//! Patches calls of kernel functions in the programs (`BPF_PSEUDO_KFUNC_CALL`): the call needs the function's
//! BTF id, which aya 0.14 does not resolve.

use super::btf::Btf;
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED};

/// Placeholders in the object, with the functions' names.
const FUNCTIONS: [(u32, &str); 2] =
    [(CALL_KERNEL_SKB, "bpf_cast_to_kern_ctx"), (CALL_TYPED, "bpf_rdonly_cast")];

/// Size of an instruction in bytes.
const INSTRUCTION: usize = 8;

/// The functions' BTF ids, in the order of [`FUNCTIONS`].
pub type FunctionIds = [u32; FUNCTIONS.len()];

/// Returns the BTF ids in this kernel; none if it lacks a function.
pub fn function_ids(btf: &Btf) -> Option<FunctionIds> {
    let [(_, first), (_, second)] = FUNCTIONS;
    Some([btf.function(first)?, btf.function(second)?])
}

/// Returns the object with BTF ids in its calls. Without ids, moves replace the calls: a kernel refuses even an
/// unreachable call of an unknown function.
pub fn patch(object: &[u8], function_ids: Option<FunctionIds>) -> Vec<u8> {
    let mut object = object.to_vec();
    // Code sections are aligned to the size of an instruction.
    for instruction in object.as_chunks_mut::<INSTRUCTION>().0 {
        if let Some(index) = FUNCTIONS.iter().position(|(mark, _)| *instruction == call(*mark)) {
            let number = function_ids.and_then(|function_ids| function_ids.get(index).copied());
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

/// Returns a call of the kernel function with this BTF id.
const fn call(number: u32) -> [u8; INSTRUCTION] {
    let registers = if cfg!(target_endian = "big") { 0x02 } else { 0x20 };
    let [a, b, c, d] = number.to_ne_bytes();
    [0x85, registers, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_calls_only() {
        let other = [0x85, 0, 0, 0, 1, 0x73, 0x6e, 0x64];
        let object = [call(CALL_TYPED), other, call(CALL_KERNEL_SKB), call(9)].concat();
        let with = patch(&object, Some([5, 6]));
        assert_eq!(with, [call(6), other, call(5), call(9)].concat());
        assert_eq!(patch(&object, None), [MOVE, other, MOVE, call(9)].concat());
    }
}
