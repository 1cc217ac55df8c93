//! Decompresses input files. The format is detected from the first bytes, not from the file name.

use std::io::{self, Cursor, Read};

/// Most layers of compression. More are probably a mistake.
pub const MAX_LAYERS: usize = 2;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip (RFC 1952), multi-member files included.
    Gzip,
    /// zstd (RFC 8878), multi-frame files included.
    Zstd,
}

impl Compression {
    /// Bytes that [`Compression::detect`] needs.
    pub const MAGIC_BYTES: usize = 4;

    /// Detects the format from the first bytes of the input; `None` if it is not compressed.
    #[must_use]
    pub const fn detect(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // Frames, and skippable frames.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns a reader of the decompressed data.
    ///
    /// # Errors
    /// The decompressor cannot be created.
    pub fn decompress(self, packed: impl Read + 'static) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(packed)?),
        })
    }
}

/// Mark that editors of Windows write before a text in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns a reader of the decompressed data of `input`, which may be uncompressed, without a byte order mark.
///
/// # Errors
/// `input` cannot be read.
pub fn decompressed(mut input: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    for _ in 0..MAX_LAYERS {
        let mut start = Vec::with_capacity(Compression::MAGIC_BYTES);
        input.by_ref().take(Compression::MAGIC_BYTES as u64).read_to_end(&mut start)?;
        let packing = Compression::detect(&start);
        if start.starts_with(BYTE_ORDER_MARK) {
            start.drain(..BYTE_ORDER_MARK.len());
        }
        let whole = Cursor::new(start).chain(input);
        match packing {
            Some(packing) => input = packing.decompress(whole)?,
            None => return Ok(Box::new(whole)),
        }
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(input: Vec<u8>) -> Vec<u8> {
        let mut found = Vec::new();
        decompressed(Box::new(Cursor::new(input))).unwrap().read_to_end(&mut found).unwrap();
        found
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn decompresses() {
        for plain in [&b""[..], b"{}", b"{\"schema\":1}\n"] {
            let zstd = zstd::encode_all(plain, 1).unwrap();
            for packed in [plain.to_vec(), gzip(plain), zstd.clone(), gzip(&zstd)] {
                assert_eq!(read(packed), plain);
            }
            assert_eq!(read([zstd.as_slice(), &zstd].concat()), [plain, plain].concat());
            let marked = [BYTE_ORDER_MARK, plain].concat();
            assert_eq!(read(gzip(&marked)), plain);
            assert_eq!(read(marked), plain);
        }
    }

    #[test]
    fn fails_on_truncated_input() {
        let packed = gzip(&[7; 100]);
        let cut = Cursor::new(packed[..packed.len() - 1].to_vec());
        let error = decompressed(Box::new(cut)).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
