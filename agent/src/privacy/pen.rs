//! One record, masked: its JSON is read field by field and written again. What may be told is copied as it
//! stands, numbers to the last digit.

use super::fields::{Field, Kind};
use super::key::{Domain, Key};
use super::{Mask, Method, entity};
use crate::record::registrable;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Error, from_str};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an address that remain when it is truncated.
const IPV4_BITS: u8 = 24;
const IPV6_BITS: u8 = 48;

/// The fields of an object as they stand, in order.
pub(super) struct Shallow<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Shallow<'a> {
    /// A field's JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.get())
    }

    /// A field that is text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        from_str::<Text<'a>>(self.raw(name)?).ok().map(|text| text.0)
    }
}

/// Text that is copied only where it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Shallow<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Shallow<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(48);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Shallow(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Writes masked records of one stream.
pub(super) struct Pen<'a> {
    pub(super) mask: Mask,
    /// The period's key.
    pub(super) key: &'a Key,
    /// The key of what must not change with the period.
    pub(super) steady: &'a Key,
}

impl Pen<'_> {
    /// Writes an object: of its fields those that are known, in their order.
    pub(super) fn object(
        &self,
        out: &mut Vec<u8>,
        fields: &'static [Field],
        object: &Shallow<'_>,
    ) -> Result<(), Error> {
        out.push(b'{');
        let mut is_first = true;
        // They most often come in the table's order.
        let mut next = 0;
        for (name, value) in &object.0 {
            let (before, after) = fields.split_at(next.min(fields.len()));
            let found = after.iter().chain(before).position(|field| field.name == *name);
            let Some(found) = found else { continue };
            let place = (next + found) % fields.len();
            next = place + 1;
            let start = out.len();
            if !is_first {
                out.push(b',');
            }
            write(out, name)?;
            out.push(b':');
            if self.value(out, &fields[place], value.get(), object)? {
                is_first = false;
            } else {
                out.truncate(start);
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes what may be told of a field; false where that is nothing, and the field goes.
    fn value(
        &self,
        out: &mut Vec<u8>,
        field: &Field,
        raw: &str,
        beside: &Shallow<'_>,
    ) -> Result<bool, Error> {
        match field.kind {
            Kind::Whole(class) if self.mask.of(class) != Method::Keep => return Ok(false),
            Kind::Public | Kind::Whole(_) => out.extend_from_slice(raw.as_bytes()),
            Kind::ObjectOf(class, _) if self.mask.of(class) == Method::Drop => {
                return Ok(field.required && self.nothing(out, field, raw));
            }
            Kind::Object(fields) | Kind::ObjectOf(_, fields) => self.objects(out, fields, raw)?,
            _ if raw.starts_with('[') => return self.texts(out, field, raw, beside),
            kind => {
                let Text(text) = from_str(raw)?;
                match self.text(kind, &text, beside) {
                    Some(text) => write(out, &text)?,
                    None => return Ok(field.required && self.nothing(out, field, raw)),
                }
            }
        }
        Ok(true)
    }

    /// Writes what stands where a field must be and nothing may be told.
    #[expect(clippy::unused_self, reason = "reads as the other ways to write a field")]
    fn nothing(&self, out: &mut Vec<u8>, field: &Field, raw: &str) -> bool {
        let nothing: &[u8] = match field.kind {
            _ if raw.starts_with('[') => b"[]",
            Kind::Address(_) | Kind::Sender | Kind::Receiver | Kind::Peer => b"\"::\"",
            _ => b"\"\"",
        };
        out.extend_from_slice(nothing);
        true
    }

    fn objects(&self, out: &mut Vec<u8>, fields: &'static [Field], raw: &str) -> Result<(), Error> {
        if !raw.starts_with('[') {
            return self.object(out, fields, &from_str(raw)?);
        }
        out.push(b'[');
        for (place, object) in from_str::<Vec<Shallow<'_>>>(raw)?.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            self.object(out, fields, object)?;
        }
        out.push(b']');
        Ok(())
    }

    fn texts(
        &self,
        out: &mut Vec<u8>,
        field: &Field,
        raw: &str,
        beside: &Shallow<'_>,
    ) -> Result<bool, Error> {
        let texts: Vec<Text<'_>> = from_str(raw)?;
        let told: Vec<Cow<'_, str>> =
            texts.iter().filter_map(|text| self.text(field.kind, &text.0, beside)).collect();
        if told.is_empty() {
            return Ok(field.required && self.nothing(out, field, raw));
        }
        write(out, &told)?;
        Ok(true)
    }

    /// What may be told of a text.
    pub(super) fn text<'t>(
        &self,
        kind: Kind,
        text: &'t str,
        beside: &Shallow<'_>,
    ) -> Option<Cow<'t, str>> {
        let Mask { qname, client, server, answers, ecs, process, container } = self.mask;
        let is_query = || beside.raw("qr") == Some("\"query\"");
        match kind {
            Kind::Name => self.name(qname, text),
            Kind::Target => self.name(qname.max(answers), text),
            Kind::ServerName => self.name(qname.max(server), text),
            Kind::Spelling => (qname == Method::Keep).then(|| text.into()),
            Kind::Address(class) => self.address(self.mask.of(class), text),
            Kind::Sender => self.address(if is_query() { client } else { server }, text),
            Kind::Receiver => self.address(if is_query() { server } else { client }, text),
            Kind::Peer => self.address(client.max(server), text),
            Kind::Resolver if text.parse::<IpAddr>().is_ok() => self.address(server, text),
            Kind::Public | Kind::Resolver => Some(text.into()),
            Kind::Found => self.address(answers, text),
            Kind::Data => self.data(beside.text("type").as_deref(), text),
            Kind::Subnet => self.subnet(ecs, text),
            Kind::Octets => (!self.mask.hides_octets()).then(|| text.into()),
            Kind::Process => self.hidden(process, Domain::Process, text),
            Kind::ProcessWithId => self.process_with_id(text),
            Kind::Container if container == Method::Hash => {
                Some(self.key.long_text(Domain::Container, text).into())
            }
            Kind::Container => self.hidden(container, Domain::Container, text),
            Kind::Sketch(class) => (self.mask.of(class) == Method::Keep).then(|| text.into()),
            Kind::AlertId => Some(self.steady.text(Domain::AlertId, text).into()),
            Kind::Entity => Some(entity::entity(self, beside).into()),
            Kind::Summary => Some(entity::summary(beside).into()),
            Kind::Object(_) | Kind::ObjectOf(..) | Kind::Whole(_) => None,
        }
    }

    fn name<'t>(&self, method: Method, text: &'t str) -> Option<Cow<'t, str>> {
        match method {
            Method::Keep => Some(text.into()),
            Method::Truncate => zone(text),
            Method::Hash => Some(self.key.text(Domain::Name, &text.to_ascii_lowercase()).into()),
            Method::Drop => None,
        }
    }

    fn address<'t>(&self, method: Method, text: &'t str) -> Option<Cow<'t, str>> {
        if method == Method::Keep {
            return Some(text.into());
        }
        let address: IpAddr = text.parse().ok()?;
        let masked = self.masked_address(method, address.to_canonical())?;
        Some(masked.to_string().into())
    }

    fn masked_address(&self, method: Method, address: IpAddr) -> Option<IpAddr> {
        match method {
            Method::Keep => Some(address),
            Method::Truncate => Some(prefix(address, IPV4_BITS, IPV6_BITS)),
            Method::Hash => Some(self.key.address(address)),
            Method::Drop => None,
        }
    }

    /// What a record of an answer holds, by its type: an address, a name, or whatever else, in which
    /// there may be names.
    fn data<'t>(&self, rtype: Option<&str>, text: &'t str) -> Option<Cow<'t, str>> {
        let Mask { qname, answers, .. } = self.mask;
        let strict = qname.max(answers);
        match rtype {
            Some("A" | "AAAA") if text.parse::<IpAddr>().is_ok() => self.address(answers, text),
            Some("CNAME" | "DNAME" | "NS" | "PTR") => self.name(strict, text),
            _ => self.hidden(strict, Domain::Data, text),
        }
    }

    /// Of what has no parts, nothing is told where a part would be.
    fn hidden<'t>(&self, method: Method, domain: Domain, text: &'t str) -> Option<Cow<'t, str>> {
        match method {
            Method::Keep => Some(text.into()),
            Method::Hash => Some(self.key.text(domain, text).into()),
            Method::Truncate | Method::Drop => None,
        }
    }

    fn process_with_id<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let method = self.mask.process;
        let split = text.rfind('[').filter(|_| text.ends_with(']') && method != Method::Keep);
        let (name, id) = text.split_at(split.unwrap_or(text.len()));
        let name = self.hidden(method, Domain::Process, name)?;
        Some(if id.is_empty() { name } else { format!("{name}{id}").into() })
    }

    fn subnet<'t>(&self, method: Method, text: &'t str) -> Option<Cow<'t, str>> {
        if method == Method::Keep {
            return Some(text.into());
        }
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        let masked = self.masked_address(method, address)?;
        let most = match method {
            Method::Hash => 128,
            _ if address.is_ipv4() => bits.min(IPV4_BITS),
            _ => bits.min(IPV6_BITS),
        };
        Some(format!("{masked}/{most}").into())
    }
}

/// The registrable domain of a name, whatever its case. A bare suffix has none: a host's name without
/// a domain looks the same, and is not told.
fn zone(name: &str) -> Option<Cow<'_, str>> {
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return registrable(&name.to_ascii_lowercase()).map(|zone| zone.to_owned().into());
    }
    registrable(name).map(Into::into)
}

/// An address with all behind its first bits zero.
fn prefix(address: IpAddr, ipv4: u8, ipv6: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(ipv4)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

pub(super) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    serde_json::to_writer(out, value)
}

/// Why a record cannot be read, without a word of it.
pub(super) fn no_object() -> Error {
    Error::custom("a record is no object")
}
