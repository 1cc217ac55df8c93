//! Values that stand in files of their own, as Kubernetes, systemd and Docker hand out secrets.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest value: more than any chain of certificates.
const LONGEST: u64 = 1 << 20;

/// The content of a file without its last newline.
///
/// # Errors
/// A few words, without the content: it cannot be read, is empty, too long, or no text.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut octets))
        .map_err(|error| error.to_string())?;
    if octets.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} octets"));
    }
    // The error would hold the octets.
    let mut text = String::from_utf8(octets).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("it has a NUL octet".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_the_last_newline_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let content = |octets: &[u8]| {
            fs::write(&path, octets).unwrap();
            read(&path)
        };
        assert_eq!(content(b"hunter2\n"), Ok("hunter2".into()));
        assert_eq!(content(b"hunter2\r\n"), Ok("hunter2".into()));
        assert_eq!(content(b" a\nb \n\n"), Ok(" a\nb \n".into()));
        assert_eq!(content(b"hunter2"), Ok("hunter2".into()));
        let long = vec![b'x'; 1_048_577];
        for bad in [&b""[..], b"\n", b"\r\n", b"hunter2\xFF", b"hunter2\0", &long] {
            let why = content(bad).unwrap_err();
            assert!(!why.contains("hunter"), "{why}");
        }
        assert!(read(folder.path()).is_err() && read(Path::new("/nowhere")).is_err());
    }
}
