//! TLS handshakes for tests.

use super::hello::TLS13;

/// Adds a length of `N` bytes.
fn counted<const N: usize>(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
    [&length[4 - N..], octets].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), counted::<2>(content).as_slice()].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], counted::<3>(body).as_slice()].concat()
}

/// Builds a `ClientHello` with a key share of `share` bytes.
pub(crate) fn client_hello(sni: &str, alpn: &[&str], share: usize, ech: bool) -> Vec<u8> {
    let mut extensions = extension(0x3a3a, &[]);
    if !sni.is_empty() {
        let name = [&[0], counted::<2>(sni.as_bytes()).as_slice()].concat();
        extensions.extend(extension(0, &counted::<2>(&name)));
    }
    extensions.extend(extension(43, &counted::<1>(&[3, 4, 3, 3])));
    extensions.extend(extension(51, &counted::<2>(&vec![7; share])));
    if ech {
        extensions.extend(extension(0xfe0d, &[0; 40]));
    }
    let protocols: Vec<u8> = alpn.iter().flat_map(|name| counted::<1>(name.as_bytes())).collect();
    extensions.extend(extension(16, &counted::<2>(&protocols)));
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend(counted::<1>(&[5; 32]));
    body.extend(counted::<2>(&[0x13, 1, 0x13, 2]));
    body.extend(counted::<1>(&[0]));
    body.extend(counted::<2>(&extensions));
    message(1, &body)
}

/// Builds a `ServerHello` with the session id of [`client_hello`].
pub(crate) fn server_hello(version: u16, psk: bool) -> Vec<u8> {
    let mut extensions = Vec::new();
    if version == TLS13 {
        extensions.extend(extension(43, &version.to_be_bytes()));
        extensions.extend(extension(51, &[0, 29, 0, 2, 1, 1]));
    }
    if psk {
        extensions.extend(extension(41, &[0, 0]));
    }
    let mut body = version.min(0x0303).to_be_bytes().to_vec();
    body.extend([8; 32]);
    body.extend(counted::<1>(&[5; 32]));
    body.extend([0x13, 1, 0]);
    body.extend(counted::<2>(&extensions));
    message(2, &body)
}

/// Builds a `HelloRetryRequest`.
pub(crate) fn retry_request() -> Vec<u8> {
    let mut hello = server_hello(TLS13, false);
    hello[6..38].copy_from_slice(&super::hello::RETRY);
    hello
}

/// Builds a TLS record.
pub(crate) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], counted::<2>(body).as_slice()].concat()
}
