//! Record data that says where a service is: NAPTR (RFC 3403), SVCB and HTTPS (RFC 9460).

use super::super::name;
use super::push_string;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::rr::rdata::NAPTR;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey, SvcParamValue};

/// RFC 3403, 4.1.
pub(super) fn naptr(naptr: &NAPTR) -> String {
    let mut text = format!("{} {}", naptr.order, naptr.preference);
    for string in [&naptr.flags, &naptr.services, &naptr.regexp] {
        text.push(' ');
        push_string(&mut text, string);
    }
    text.push(' ');
    text.push_str(&name::presentation(&naptr.replacement));
    text
}

/// RFC 9460, 2.1.
pub(super) fn svcb(svcb: &SVCB) -> String {
    let mut text = format!("{} {}", svcb.svc_priority, name::presentation(&svcb.target_name));
    for (name, value) in &svcb.svc_params {
        text.push(' ');
        text.push_str(&key(*name));
        push_value(&mut text, value);
    }
    text
}

/// RFC 9460, 2.1: a key without a name is written as its number.
fn key(key: SvcParamKey) -> String {
    match key {
        SvcParamKey::Key(number) | SvcParamKey::Unknown(number) => format!("key{number}"),
        known => known.to_string(),
    }
}

/// Adds the value of a parameter behind its key.
fn push_value(text: &mut String, value: &SvcParamValue) {
    match value {
        SvcParamValue::Mandatory(keys) => {
            push_list(text, &keys.0.iter().copied().map(key).collect::<Vec<_>>());
        }
        SvcParamValue::Alpn(protocols) => {
            text.push('=');
            push_string(text, protocols.0.join(",").as_bytes());
        }
        SvcParamValue::NoDefaultAlpn => {}
        SvcParamValue::Port(port) => push_list(text, &[port]),
        SvcParamValue::Ipv4Hint(hint) => push_list(text, &hint.0),
        SvcParamValue::Ipv6Hint(hint) => push_list(text, &hint.0),
        SvcParamValue::EchConfigList(config) => push_list(text, &[BASE64.encode(&config.0)]),
        SvcParamValue::Unknown(octets) if octets.0.is_empty() => {}
        SvcParamValue::Unknown(octets) => {
            text.push('=');
            push_string(text, &octets.0);
        }
    }
}

fn push_list<T: ToString>(text: &mut String, items: &[T]) {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    text.push('=');
    text.push_str(&items.join(","));
}

#[cfg(test)]
mod tests {
    use super::super::presentation;

    fn shown(rtype: u16, data: &[u8]) -> String {
        presentation(data, 0, data, rtype)
    }

    #[test]
    fn writes_what_master_files_write() {
        let https = [
            &b"\0\x01\0\0\0\0\x02\0\x01\0\x01\0\x06\x02h2\x02h3\0\x03\0\x02\x01\xBB"[..],
            b"\0\x04\0\x08\xC0\0\x02\x01\xC0\0\x02\x02\0\x07\0\x02/q",
        ];
        let text =
            "1 . mandatory=alpn alpn=\"h2,h3\" port=443 ipv4hint=192.0.2.1,192.0.2.2 key7=\"/q\"";
        assert_eq!(shown(65, &https.concat()), text);
        assert_eq!(shown(64, b"\0\0\x03svc\x04test\0"), "0 svc.test");
        let naptr = b"\0\x01\0\x02\x01s\x03SIP\0\x01r\x04test\0";
        assert_eq!(shown(35, naptr), "1 2 \"s\" \"SIP\" \"\" r.test");
    }
}
