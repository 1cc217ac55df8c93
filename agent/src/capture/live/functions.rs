//! Calls of kernel functions in the programs (`BPF_PSEUDO_KFUNC_CALL`): the call has the function's number
//! among the kernel's types, which the loader that is used does not look up.

use super::btf::Btf;
use super::settings::Settings;
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED};
use std::borrow::Cow;

/// Functions by what stands for them.
const FUNCTIONS: [(u32, &str); 2] =
    [(CALL_KERNEL_SKB, "bpf_cast_to_kern_ctx"), (CALL_TYPED, "bpf_rdonly_cast")];

/// Octets of an instruction.
const INSTRUCTION: usize = 8;

/// The object with the functions' numbers put into its calls. Where the kernel does not have them all,
/// with moves in place of the calls, for the verifier refuses even a call that nothing leads to; and the
/// programs are told to do without.
pub fn put<'a>(object: &'a [u8], btf: Option<&Btf>, settings: &mut Settings) -> Cow<'a, [u8]> {
    let numbers = btf.and_then(|btf| {
        let number = |(mark, name)| Some((mark, Some(btf.function(name)?)));
        FUNCTIONS.into_iter().map(number).collect::<Option<Vec<_>>>()
    });
    if let (Some(btf), Some(_)) = (btf, &numbers) {
        settings.ask_for_packets(btf);
    }
    let numbers = numbers.unwrap_or_else(|| FUNCTIONS.map(|(mark, _)| (mark, None)).to_vec());
    Cow::Owned(replaced(object, &numbers))
}

fn replaced(object: &[u8], numbers: &[(u32, Option<u32>)]) -> Vec<u8> {
    let mut object = object.to_vec();
    let mut at = 0;
    while let Some(instruction) = object.get_mut(at..at + INSTRUCTION) {
        let found = numbers.iter().find(|(mark, _)| *instruction == call(*mark));
        if let Some((_, number)) = found {
            instruction.copy_from_slice(&number.map_or(MOVE, call));
        }
        // Sections of code begin at a multiple of that.
        at += INSTRUCTION;
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
        let with = replaced(&object, &[(CALL_KERNEL_SKB, Some(5)), (CALL_TYPED, Some(6))]);
        assert_eq!(with, [call(6), other, call(5), call(9)].concat());
        let without = replaced(&object, &[(CALL_KERNEL_SKB, None), (CALL_TYPED, None)]);
        assert_eq!(without, [MOVE, other, MOVE, call(9)].concat());
    }
}
