//! The mnemonics that IANA registers for classes, opcodes and rcodes (RFC 6895).

use std::borrow::Cow;

/// Returns the mnemonic of a class; `CLASS32` for an unknown one (RFC 3597).
#[must_use]
pub fn class_name(number: u16) -> Cow<'static, str> {
    match number {
        1 => "IN".into(),
        3 => "CH".into(),
        4 => "HS".into(),
        254 => "NONE".into(),
        255 => "ANY".into(),
        _ => format!("CLASS{number}").into(),
    }
}

/// Returns the mnemonic of an opcode; `OPCODE9` for an unknown one.
#[must_use]
pub const fn opcode_name(number: u8) -> &'static str {
    OPCODES[(number & 0xF) as usize]
}

/// Returns the mnemonic of an rcode, extended rcodes included (RFC 6895, 2.3); `RCODE12` for an
/// unknown one.
#[must_use]
pub fn rcode_name(number: u16) -> Cow<'static, str> {
    RCODES
        .get(usize::from(number))
        .map_or_else(|| format!("RCODE{number}").into(), |name| Cow::Borrowed(*name))
}

/// Returns the mnemonic of a TSIG or TKEY error: the rcode's, except for 16 (RFC 8945, 3).
pub(super) fn tsig_error_name(number: u16) -> Cow<'static, str> {
    if number == 16 { "BADSIG".into() } else { rcode_name(number) }
}

/// Indexed by opcode.
const OPCODES: [&str; 16] = [
    "QUERY", "IQUERY", "STATUS", "OPCODE3", "NOTIFY", "UPDATE", "DSO", "OPCODE7", "OPCODE8",
    "OPCODE9", "OPCODE10", "OPCODE11", "OPCODE12", "OPCODE13", "OPCODE14", "OPCODE15",
];

/// Indexed by rcode.
const RCODES: [&str; 24] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "RCODE12",
    "RCODE13",
    "RCODE14",
    "RCODE15",
    "BADVERS",
    "BADKEY",
    "BADTIME",
    "BADMODE",
    "BADNAME",
    "BADALG",
    "BADTRUNC",
    "BADCOOKIE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(class_name(1), "IN");
        assert_eq!(class_name(0x8001), "CLASS32769");
        assert_eq!(rcode_name(23), "BADCOOKIE");
        assert_eq!(rcode_name(12), "RCODE12");
        assert_eq!(rcode_name(4095), "RCODE4095");
        assert_eq!(opcode_name(5), "UPDATE");
    }
}
