//! Parses 802.11 data frames, with or without a radiotap header.

/// Frame lengths from a radiotap header (radiotap.org).
pub(super) struct Radiotap {
    /// Size of the radiotap header in bytes.
    pub header: u32,
    /// Size of the check sequence at the end of the frame, in bytes.
    pub trailer: usize,
}

/// Parses a radiotap header.
pub(super) fn radiotap(frame: &[u8]) -> Option<Radiotap> {
    let le32 = |at: usize| frame.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
    let header = u32::from(u16::from_le_bytes([*frame.get(2)?, *frame.get(3)?]));
    let present = le32(4)?;
    // Bit 31 announces one more word of presence bits.
    let mut fields = 8;
    let mut word = present;
    while word & 1 << 31 != 0 {
        word = le32(fields)?;
        fields += 4;
    }
    // The flags (bit 1) follow the TSF timer (bit 0; eight bytes, aligned).
    let flags = match present & 0b11 {
        0b10 => *frame.get(fields)?,
        0b11 => *frame.get(fields.next_multiple_of(8) + 8)?,
        _ => 0,
    };
    Some(Radiotap { header, trailer: if flags & 0x10 == 0 { 0 } else { 4 } })
}

/// Returns the offset of the LLC header of the data frame at `at`; `None` for other and for encrypted frames
/// (IEEE 802.11, 9.2.4 and 9.3.2).
pub(super) fn header(frame: &[u8], at: u32) -> Option<u32> {
    let [control, flags] = super::bytes_at(frame, at)?;
    let (data, no_payload, protected) = (control & 0x0c == 0x08, control & 0x40, flags & 0x40);
    if !data || no_payload != 0 || protected != 0 {
        return None;
    }
    let four_addresses = flags & 0x03 == 0x03;
    let quality_of_service = control & 0x80 != 0;
    let high_throughput = quality_of_service && flags & 0x80 != 0;
    Some(
        at + 24
            + if four_addresses { 6 } else { 0 }
            + if quality_of_service { 2 } else { 0 }
            + if high_throughput { 4 } else { 0 },
    )
}
