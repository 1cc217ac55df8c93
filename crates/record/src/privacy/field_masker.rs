//! Masks one record: reads its JSON field by field and writes it again. Public values are copied as
//! they stand, so numbers keep every digit.

use super::fields::{Field, Kind};
use super::key::{Domain, Key};
use super::{Mask, MaskingMethod, alert};
use crate::JsonText;
use dnscribe_dns::registrable_domain;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Error, from_str};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of a truncated IPv4 address that remain.
const IPV4_BITS: u8 = 24;
/// Bits of a truncated IPv6 address that remain.
const IPV6_BITS: u8 = 48;
/// First 16 bits of an IPv6 address that contains an IPv4 address after them: 6to4 (RFC 3056).
const SIX_TO_FOUR: u16 = 0x2002;

/// An object's fields as unparsed JSON, in order.
pub(super) struct RawObject<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> RawObject<'a> {
    /// Returns the JSON of a field.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.get())
    }

    /// Returns a field that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        from_str(self.raw(name)?).ok()
    }

    /// Returns a field that is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        from_str::<JsonText<'a>>(self.raw(name)?).ok().map(|text| text.0)
    }
}

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(48);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawObject(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A field of a record on its way through the masker.
#[derive(Clone, Copy)]
struct RawField<'a> {
    field: &'a Field,
    /// The value as JSON.
    raw: &'a str,
    /// The object that contains the field.
    object: &'a RawObject<'a>,
}

impl RawField<'_> {
    /// Writes an empty value if the schema requires the field; otherwise returns false.
    fn write_empty(&self, out: &mut Vec<u8>) -> bool {
        if self.field.required {
            let empty: &[u8] = match self.field.kind {
                _ if self.raw.starts_with('[') => b"[]",
                Kind::Address(_) | Kind::Sender | Kind::Receiver | Kind::Peer => b"\"::\"",
                _ => b"\"\"",
            };
            out.extend_from_slice(empty);
        }
        self.field.required
    }
}

/// Masks the fields of one record of one stream.
pub(super) struct FieldMasker<'a> {
    pub(super) mask: Mask,
    /// Key of the period.
    pub(super) key: &'a Key,
    /// Key for pseudonyms that must not change with the period.
    pub(super) constant: &'a Key,
}

impl FieldMasker<'_> {
    /// Writes the fields of `object` that `fields` lists, masked, in their order.
    pub(super) fn write_object(
        &self,
        out: &mut Vec<u8>,
        fields: &'static [Field],
        object: &RawObject<'_>,
    ) -> Result<(), Error> {
        out.push(b'{');
        let mut is_first = true;
        // Records have their fields in the order of the table, so the search starts behind the last.
        let mut next = 0;
        for (name, value) in &object.0 {
            let (before, after) = fields.split_at(next.min(fields.len()));
            let found = after.iter().chain(before).position(|field| field.name == *name);
            let Some(found) = found else { continue };
            let index = (next + found) % fields.len();
            next = index + 1;
            let start = out.len();
            if !is_first {
                out.push(b',');
            }
            write(out, name)?;
            out.push(b':');
            if self
                .write_value(out, RawField { field: &fields[index], raw: value.get(), object })?
            {
                is_first = false;
            } else {
                out.truncate(start);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes the masked value of a field. Returns false if the field is to be left out.
    fn write_value(&self, out: &mut Vec<u8>, value: RawField<'_>) -> Result<bool, Error> {
        let RawField { field, raw, object } = value;
        match field.kind {
            Kind::Whole(class) if self.mask.method(class) != MaskingMethod::Keep => {
                return Ok(false);
            }
            Kind::Public | Kind::Whole(_) => out.extend_from_slice(raw.as_bytes()),
            Kind::ObjectOf(class, _) if self.mask.method(class) == MaskingMethod::Drop => {
                return Ok(value.write_empty(out));
            }
            Kind::Object(fields) | Kind::ObjectOf(_, fields) => {
                self.write_objects(out, fields, raw)?;
            }
            _ if raw.starts_with('[') => return self.write_list(out, value),
            kind => {
                let JsonText(text) = from_str(raw)?;
                match self.masked_text(kind, &text, object) {
                    Some(text) => write(out, &text)?,
                    None => return Ok(value.write_empty(out)),
                }
            }
        }
        Ok(true)
    }

    fn write_objects(
        &self,
        out: &mut Vec<u8>,
        fields: &'static [Field],
        raw: &str,
    ) -> Result<(), Error> {
        if !raw.starts_with('[') {
            return self.write_object(out, fields, &from_str(raw)?);
        }
        out.push(b'[');
        for (index, object) in from_str::<Vec<RawObject<'_>>>(raw)?.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_object(out, fields, object)?;
        }
        out.push(b']');
        Ok(())
    }

    fn write_list(&self, out: &mut Vec<u8>, value: RawField<'_>) -> Result<bool, Error> {
        let texts: Vec<JsonText<'_>> = from_str(value.raw)?;
        let masked = |text| self.masked_text(value.field.kind, text, value.object);
        let kept: Vec<Cow<'_, str>> = texts.iter().filter_map(|text| masked(&text.0)).collect();
        if kept.is_empty() {
            return Ok(value.write_empty(out));
        }
        write(out, &kept)?;
        Ok(true)
    }

    /// Returns the masked form of a text, or none if nothing of it may be kept. `object` contains
    /// the field.
    pub(super) fn masked_text<'t>(
        &self,
        kind: Kind,
        text: &'t str,
        object: &RawObject<'_>,
    ) -> Option<Cow<'t, str>> {
        let Mask { qname, client, server, answers, ecs, process, container } = self.mask;
        let is_query = || object.raw("qr") == Some("\"query\"");
        match kind {
            Kind::Name => self.name(qname, text),
            Kind::Target => self.name(qname.max(answers), text),
            Kind::ServerName => self.name(qname.max(server), text),
            Kind::Spelling => (qname == MaskingMethod::Keep).then(|| text.into()),
            Kind::Address(class) => self.address(self.mask.method(class), text),
            Kind::Sender => self.address(if is_query() { client } else { server }, text),
            Kind::Receiver => self.address(if is_query() { server } else { client }, text),
            Kind::Peer => self.address(client.max(server), text),
            Kind::Resolver if text.parse::<IpAddr>().is_ok() => self.address(server, text),
            Kind::Public | Kind::Resolver => Some(text.into()),
            Kind::Found => self.address(answers, text),
            Kind::Data => self.data(object.text("type").as_deref(), text),
            Kind::Answered => self.data(object.text("qtype").as_deref(), text),
            Kind::ProbeTarget => Some(self.probe_target(text).into()),
            Kind::Opaque(class) => self.opaque(self.mask.method(class), Domain::Data, text),
            Kind::Subnet => self.subnet(ecs, text),
            Kind::Octets => (!self.mask.hides_message_bytes()).then(|| text.into()),
            Kind::Process => self.opaque(process, Domain::Process, text),
            Kind::ProcessWithId => self.process_with_id(text),
            Kind::Container if container == MaskingMethod::Hash => {
                Some(self.key.long_text(Domain::Container, text).into())
            }
            Kind::Container => self.opaque(container, Domain::Container, text),
            Kind::Sketch(class) => {
                (self.mask.method(class) == MaskingMethod::Keep).then(|| text.into())
            }
            Kind::AlertId => Some(self.constant.text(Domain::AlertId, text).into()),
            Kind::Entity => Some(alert::entity(self, object).into()),
            Kind::Summary => Some(alert::summary(self, object).into()),
            Kind::Object(_) | Kind::ObjectOf(..) | Kind::Whole(_) => None,
        }
    }

    pub(super) fn name<'t>(&self, method: MaskingMethod, text: &'t str) -> Option<Cow<'t, str>> {
        match method {
            MaskingMethod::Keep => Some(text.into()),
            MaskingMethod::Truncate => zone(text),
            MaskingMethod::Hash => {
                Some(self.key.text(Domain::Name, &text.to_ascii_lowercase()).into())
            }
            MaskingMethod::Drop => None,
        }
    }

    pub(super) fn address<'t>(&self, method: MaskingMethod, text: &'t str) -> Option<Cow<'t, str>> {
        if method == MaskingMethod::Keep {
            return Some(text.into());
        }
        let address: IpAddr = text.parse().ok()?;
        let masked = self.masked_address(method, address.to_canonical())?;
        Some(masked.to_string().into())
    }

    fn masked_address(&self, method: MaskingMethod, address: IpAddr) -> Option<IpAddr> {
        match method {
            MaskingMethod::Keep => Some(address),
            MaskingMethod::Truncate => Some(prefix(address)),
            MaskingMethod::Hash => Some(self.key.address(address)),
            MaskingMethod::Drop => None,
        }
    }

    /// Masks the data of an answer record by its type: an address, a name, or anything else, which
    /// may contain names.
    fn data<'t>(&self, rtype: Option<&str>, text: &'t str) -> Option<Cow<'t, str>> {
        let Mask { qname, answers, .. } = self.mask;
        let strict = qname.max(answers);
        match rtype {
            Some("A" | "AAAA") if text.parse::<IpAddr>().is_ok() => self.address(answers, text),
            Some("CNAME" | "DNAME" | "NS" | "PTR") => self.name(strict, text),
            _ => self.opaque(strict, Domain::Data, text),
        }
    }

    /// Masks a value without parts: truncating it leaves nothing.
    pub(super) fn opaque<'t>(
        &self,
        method: MaskingMethod,
        domain: Domain,
        text: &'t str,
    ) -> Option<Cow<'t, str>> {
        match method {
            MaskingMethod::Keep => Some(text.into()),
            MaskingMethod::Hash => Some(self.key.text(domain, text).into()),
            MaskingMethod::Truncate | MaskingMethod::Drop => None,
        }
    }

    fn process_with_id<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let method = self.mask.process;
        let split =
            text.rfind('[').filter(|_| text.ends_with(']') && method != MaskingMethod::Keep);
        let (name, id) = text.split_at(split.unwrap_or(text.len()));
        let name = self.opaque(method, Domain::Process, name)?;
        Some(if id.is_empty() { name } else { format!("{name}{id}").into() })
    }

    fn subnet<'t>(&self, method: MaskingMethod, text: &'t str) -> Option<Cow<'t, str>> {
        if method == MaskingMethod::Keep {
            return Some(text.into());
        }
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let masked = self.masked_address(method, address)?;
        let prefix_bits = match method {
            MaskingMethod::Hash => 128,
            _ => bits.min(kept_bits(address)),
        };
        Some(format!("{masked}/{prefix_bits}").into())
    }
}

/// Returns the registrable domain of a name in any case. A bare public suffix has none and is
/// hidden, since a host name without a domain looks the same.
fn zone(name: &str) -> Option<Cow<'_, str>> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return registrable_domain(&name.to_ascii_lowercase()).map(|zone| zone.to_owned().into());
    }
    registrable_domain(name).map(Into::into)
}

impl Mask {
    /// Returns what is left of a group's zone: nothing, or what groups may share. A pseudonym is as good as the zone.
    #[must_use]
    pub fn left_of_zone(self, text: &str) -> Option<Cow<'_, str>> {
        match self.qname {
            MaskingMethod::Keep | MaskingMethod::Hash => Some(text.into()),
            MaskingMethod::Truncate => zone(text),
            MaskingMethod::Drop => None,
        }
    }

    /// As [`Self::left_of_zone`], of a resolver.
    #[must_use]
    pub fn left_of_resolver(self, text: &str) -> Option<Cow<'_, str>> {
        match (self.server, text.parse::<IpAddr>()) {
            (MaskingMethod::Truncate, Ok(address)) => {
                Some(prefix(address.to_canonical()).to_string().into())
            }
            (MaskingMethod::Drop, Ok(_)) => None,
            _ => Some(text.into()),
        }
    }
}

/// Returns how many bits of an address remain if it is truncated.
const fn kept_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => IPV4_BITS,
        IpAddr::V6(address) if address.segments()[0] == SIX_TO_FOUR => 16 + IPV4_BITS,
        IpAddr::V6(_) => IPV6_BITS,
    }
}

/// Returns the address with all bits zero that do not remain.
fn prefix(address: IpAddr) -> IpAddr {
    let kept = u32::from(kept_bits(address));
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - kept).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - kept).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

pub(super) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    serde_json::to_writer(out, value)
}

/// An error that contains nothing of the record.
pub(super) fn not_an_object() -> Error {
    Error::custom("the record is not a JSON object")
}
