//! Signed zones below a root of their own, each with one thing wrong, on three servers: knot for the root and
//! the parent, as primary, and as a secondary that lags behind and misses zones. Three resolvers: unbound that validates, unbound
//! that neither validates nor tells the truth about one name, and BIND with a response policy.

use super::{FILTERED, LYING, PARENT, POLICY, PRIMARY, SECONDARY, SHOP, VALIDATING};
use crate::lab::{Host, Lab};
use crate::shell;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Times at which the signatures of a zone are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signatures {
    Current,
    /// They end in an hour, after a month.
    Ending,
    /// They have ended a minute ago, which resolvers accept that tolerate wrong clocks.
    Ended,
    Expired,
    Future,
}

/// How a zone is delegated and served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Signed(Signatures),
    Unsigned,
    /// The digest in the parent's DS record is that of no key.
    WrongDs,
    /// The parent has a DS record, but the zone has no signatures.
    Stripped,
}

/// Zones below `test`, and what is wrong with each.
const ZONES: [(&str, Fault); 17] = [
    ("good", Fault::Signed(Signatures::Current)),
    ("insecure", Fault::Unsigned),
    ("expired", Fault::Signed(Signatures::Expired)),
    ("ending", Fault::Signed(Signatures::Ending)),
    ("ended", Fault::Signed(Signatures::Ended)),
    ("future", Fault::Signed(Signatures::Future)),
    ("wrongds", Fault::WrongDs),
    ("stripped", Fault::Stripped),
    ("lame", Fault::Unsigned),
    ("lag", Fault::Unsigned),
    ("nsdiff", Fault::Unsigned),
    ("glue", Fault::Unsigned),
    ("noglue", Fault::Unsigned),
    ("dead", Fault::Unsigned),
    ("nokey", Fault::Signed(Signatures::Current)),
    ("nsec3", Fault::Signed(Signatures::Current)),
    ("optout", Fault::Signed(Signatures::Current)),
];
/// Unsigned zone below `optout.test`, whose NSEC3 records leave it out (RFC 5155, section 6).
const LEFT_OUT: &str = "sub.optout";
/// Name of the file with the root's DS record, as `trust.dnssec_anchors` takes it.
pub(super) const ANCHORS: &str = "anchors.ds";
/// Name of the file with the same anchor, as delv takes it.
pub(super) const DELV_ANCHORS: &str = "anchors.delv";

struct Writer<'a> {
    lab: &'a Lab,
    folder: PathBuf,
}

/// Writes and signs all zones; returns their folder.
pub(super) fn write(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.folder().join("zones");
    for part in ["keys", "parent", "primary", "secondary", "filtered"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let writer = Writer { lab, folder };
    let mut delegations = String::new();
    for (name, fault) in ZONES {
        writer.write_zone(name, fault)?;
        delegations += &writer.delegation(name);
        delegations += &writer.delegation_signer(name, fault)?;
    }
    delegations += &writer.write_filtered()?;
    let parent = lab.address_number(PARENT);
    let head = |zone: &str| {
        format!(
            "$ORIGIN {zone}\n$TTL 300\n@ SOA a.nic.test. hostmaster.nic.test. 7 3600 600 86400 60\n\
             @ NS a.nic.test.\n"
        )
    };
    let glue = format!("a.nic.test. A {parent}\n");
    writer.sign("test", &(head("test.") + &glue + &delegations), Signatures::Current)?;
    let test = format!("test. NS a.nic.test.\n{glue}{}", writer.read_ds("test")?);
    writer.sign("", &(head(".") + &test), Signatures::Current)?;
    let anchor = writer.read_ds("")?;
    fs::write(writer.folder.join(ANCHORS), &anchor)?;
    let words: Vec<&str> = anchor.split_whitespace().collect();
    let [_, _, _, tag, algorithm, digest_type, digest @ ..] = words.as_slice() else {
        anyhow::bail!("not a DS record: {anchor}");
    };
    let digest = digest.concat();
    fs::write(
        writer.folder.join(DELV_ANCHORS),
        format!("trust-anchors {{ . static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n"),
    )?;
    Ok(writer.folder)
}

impl Writer<'_> {
    fn write_zone(&self, name: &str, fault: Fault) -> Result<()> {
        let zone = format!("{name}.test");
        let text = self.zone(name, 2026);
        match fault {
            Fault::Signed(signatures) => self.sign(&zone, &text, signatures)?,
            Fault::WrongDs => self.sign(&zone, &text, Signatures::Current)?,
            Fault::Stripped => {
                self.sign(&zone, &text, Signatures::Current)?;
                fs::write(self.folder.join("primary").join(&zone), &text)?;
            }
            Fault::Unsigned => fs::write(self.folder.join("primary").join(&zone), &text)?,
        }
        let secondary = self.folder.join("secondary").join(&zone);
        match name {
            "lag" => fs::write(secondary, self.zone(name, 2019))?,
            // Without keys and signatures.
            "nokey" => fs::write(secondary, &text)?,
            "optout" => {
                let left_out = self.folder.join("primary").join(format!("{LEFT_OUT}.test"));
                fs::write(left_out, self.zone(LEFT_OUT, 2026))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes a zone whose parent is on the server that the client cannot ask. Returns that parent's delegation.
    fn write_filtered(&self) -> Result<String> {
        let (server, below) = (self.lab.address_number(FILTERED), "deep.filtered");
        let parent = format!(
            "$ORIGIN filtered.test.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n\
             ns1 A {server}\n{}",
            self.nameservers(below, "deep")
        );
        fs::write(self.folder.join("filtered/filtered.test"), parent)?;
        fs::write(self.folder.join("primary/deep.filtered.test"), self.zone(below, 2026))?;
        let internal = "$ORIGIN corp.internal.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n";
        fs::write(self.folder.join("primary/corp.internal"), internal)?;
        Ok(format!("filtered NS ns1.filtered.test.\nns1.filtered.test. A {server}\n"))
    }

    /// The zone itself: `www`, `shop` at the lab's web server, a wildcard, and aliases of several kinds: into zones that
    /// are signed, unsigned and broken, for a name and for all names below one, and in a loop; and a host whose IPv6 is dropped on the way.
    fn zone(&self, name: &str, serial: u32) -> String {
        let (shop, dropped) = (self.lab.address(Host::Server), self.lab.blackhole_ipv6());
        let below =
            if name == "optout" { self.nameservers(LEFT_OUT, "sub") } else { String::new() };
        format!(
            "$ORIGIN {name}.test.\n$TTL 300\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n{}\
             www A 192.0.2.80\nwww A 192.0.2.81\nwww AAAA 2001:db8::80\n@ MX 10 mail\nmail A 192.0.2.25\n\
             @ TXT \"v=spf1 -all\"\nalias CNAME www\nshop A {shop}\n\
             *.wild A 192.0.2.82\nmoved DNAME target\nwww.target A 192.0.2.83\naway DNAME insecure.test.\n\
             cross CNAME www.insecure.test.\nsigned CNAME www.good.test.\nbroken CNAME www.expired.test.\n\
             loop CNAME noose\nnoose CNAME loop\ndangling CNAME old.gone.test.\ndual A {shop}\ndual AAAA {dropped}\n\
             *.walias CNAME www\n*.wgone CNAME old.gone.test.\n*.waway CNAME www.nsec3.test.\n{below}",
            self.nameservers(name, "@")
        )
    }

    /// NS records with the addresses of the servers: one server, or two where they disagree.
    fn nameservers(&self, name: &str, owner: &str) -> String {
        let first = self.lab.address_number(PRIMARY);
        let second = match name {
            "dead" => self.lab.closed_addr(),
            _ => self.lab.address_number(SECONDARY),
        };
        let mut text = format!("{owner} NS ns1.{name}.test.\nns1.{name}.test. A {first}\n");
        if matches!(name, "lame" | "lag" | "dead" | "nokey") {
            text.extend([format!("{owner} NS ns2.{name}.test.\nns2.{name}.test. A {second}\n")]);
        }
        text
    }

    /// The delegation as the parent has it.
    fn delegation(&self, name: &str) -> String {
        let first = self.lab.address_number(PRIMARY);
        let closed = self.lab.closed_addr();
        match name {
            // The zone itself knows nothing of this server.
            "nsdiff" => {
                "nsdiff NS ns1.nsdiff.test.\nnsdiff NS old.nsdiff.test.\n".to_owned()
                    + &format!("ns1.nsdiff.test. A {first}\nold.nsdiff.test. A {first}\n")
            }
            "noglue" => "noglue NS ns1.noglue.test.\n".to_owned(),
            // An address that the server had once.
            "glue" => format!(
                "glue NS ns1.glue.test.\nns1.glue.test. A {first}\nns1.glue.test. A {closed}\n"
            ),
            _ => self.nameservers(name, name),
        }
    }

    fn delegation_signer(&self, name: &str, fault: Fault) -> Result<String> {
        let zone = format!("{name}.test");
        Ok(match fault {
            Fault::Unsigned => String::new(),
            Fault::Signed(_) | Fault::Stripped => self.read_ds(&zone)?,
            Fault::WrongDs => {
                let ds = self.read_ds(&zone)?;
                let cut = ds.trim_end().rfind(' ').context("a DS record of one word")?;
                let (head, tail) = ds.split_at(cut);
                let wrong = |digit: char| if digit == '0' { '1' } else { '0' };
                head.to_owned() + " " + &tail.trim().chars().map(wrong).collect::<String>() + "\n"
            }
        })
    }

    fn read_ds(&self, zone: &str) -> Result<String> {
        let file = self.folder.join("keys").join(format!("dsset-{zone}."));
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Signs a zone with a new key and writes it to the folder of its server.
    fn sign(&self, zone: &str, text: &str, signatures: Signatures) -> Result<()> {
        let keys = self.folder.join("keys");
        let name = format!("{zone}.");
        let plain = keys.join(format!("{name}zone"));
        fs::write(&plain, text)?;
        let words = ["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"];
        shell::output(Command::new("dnssec-keygen").args(words).arg(&keys).arg(&name))?;
        let (start, end) = match signatures {
            Signatures::Current => ("now-3600", "now+2592000"),
            Signatures::Ending => ("now-2592000", "now+3600"),
            Signatures::Ended => ("now-2592000", "now-60"),
            Signatures::Expired => ("now-2592000", "now-864000"),
            Signatures::Future => ("now+864000", "now+2592000"),
        };
        let is_parent = matches!(zone, "" | "test");
        let server = if is_parent { "parent" } else { "primary" };
        let file = if zone.is_empty() { "root" } else { zone };
        let signed = self.folder.join(server).join(file);
        let mut sign = Command::new("dnssec-signzone");
        match zone {
            "nsec3.test" => sign.args(["-3", "-", "-H", "0"]),
            "optout.test" => sign.args(["-3", "aabb", "-H", "5", "-A"]),
            _ => &mut sign,
        };
        sign.args(["-q", "-S", "-z", "-s", start, "-e", end, "-o", &name, "-K"]).arg(&keys);
        // Checks of the result would refuse signatures that have expired.
        sign.arg("-d").arg(&keys).arg("-P").arg("-f").arg(&signed).arg(&plain);
        shell::output(&mut sign).map(drop)
    }
}

/// Writes the configuration of a knot that serves all zones of a folder.
pub(super) fn write_knot(lab: &Lab, folder: &Path, name: &str, number: u8) -> Result<PathBuf> {
    let run = lab.folder().join(format!("knot-{name}"));
    fs::create_dir_all(&run)?;
    let mut config = format!(
        "server:\n  rundir: \"{run}\"\n  listen: {}@53\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: \"{run}/db\"\n\
         template:\n  - id: default\n    storage: \"{}\"\n    zonefile-sync: -1\nzone:\n",
        lab.address_number(number),
        folder.join(name).display(),
        run = run.display(),
    );
    for item in fs::read_dir(folder.join(name))? {
        let file = item?.file_name().to_string_lossy().into_owned();
        let zone = if file == "root" { "." } else { &file };
        config.extend([format!("  - domain: {zone}\n    file: {file}\n")]);
    }
    let path = run.join("knot.conf");
    fs::write(&path, config)?;
    Ok(path)
}

/// Writes the configuration of an unbound that knows the root's server.
pub(super) fn write_unbound(
    lab: &Lab,
    name: &str,
    number: u8,
    options: &[String],
) -> Result<PathBuf> {
    let run = lab.folder().join(format!("unbound-{name}"));
    fs::create_dir_all(&run)?;
    let hints = run.join("root.hints");
    let parent = lab.address_number(PARENT);
    fs::write(&hints, format!(". 3600000 NS a.nic.test.\na.nic.test. 3600000 A {parent}\n"))?;
    let address = lab.address_number(number);
    let mut config = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  directory: \"{run}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  access-control: 0.0.0.0/0 allow\n  \
         interface: {address}\n  interface: {address}@853\n  interface: {address}@443\n  \
         tls-port: 853\n  https-port: 443\n  root-hints: \"{hints}\"\n  num-threads: 1\n  \
         so-rcvbuf: 0\n  incoming-num-tcp: 200\n  do-ip6: no\n  qname-minimisation: no\n  local-zone: \"test.\" nodefault\n",
        run = run.display(),
        hints = hints.display(),
    );
    for option in options {
        config.extend([format!("  {option}\n")]);
    }
    config += "remote-control:\n  control-enable: no\n";
    let path = run.join("unbound.conf");
    fs::write(&path, config)?;
    Ok(path)
}

/// Writes the configuration of a BIND that knows the root's server, with a response policy that leaves alone what clients
/// would find out who ask with DO (its default, `break-dnssec no`).
fn write_bind(lab: &Lab, folder: &Path) -> Result<PathBuf> {
    let run = lab.folder().join("named");
    fs::create_dir_all(&run)?;
    let parent = lab.address_number(PARENT);
    let hints = format!(". 3600000 NS a.nic.test.\na.nic.test. 3600000 A {parent}\n");
    fs::write(run.join("root.hints"), hints)?;
    let policy = format!(
        "$TTL 60\n@ SOA localhost. root.localhost. 1 3600 600 86400 60\n@ NS localhost.\n{SHOP} A 203.0.113.66\n"
    );
    fs::write(run.join("rpz.zone"), policy)?;
    // Only one of these may run on a host otherwise; newer ones have no such file.
    let version = shell::output(Command::new("named").arg("-v"))?.stdout;
    let is_old = String::from_utf8_lossy(&version).contains("BIND 9.18");
    let lock = if is_old { "lock-file none; " } else { "" };
    let config = format!(
        "options {{ directory \"{run}\"; pid-file none; {lock}listen-on {{ {address}; }}; listen-on-v6 {{ none; }};\n\
         recursion yes; allow-query {{ any; }}; allow-recursion {{ any; }}; qname-minimization off;\n\
         dnssec-validation yes; response-policy {{ zone \"rpz\"; }}; }};\n\
         controls {{ }};\nzone \".\" {{ type hint; file \"root.hints\"; }};\n\
         zone \"rpz\" {{ type primary; file \"rpz.zone\"; allow-query {{ none; }}; }};\n\
         include \"{anchors}\";\n",
        run = run.display(),
        address = lab.address_number(POLICY),
        anchors = folder.join(DELV_ANCHORS).display(),
    );
    let path = run.join("named.conf");
    fs::write(&path, config)?;
    Ok(path)
}

/// Starts all servers and all resolvers, and waits until each answers.
pub(super) fn start(lab: &mut Lab, folder: &Path) -> Result<()> {
    for (host, number) in [
        (Host::Server, PARENT),
        (Host::Server, PRIMARY),
        (Host::Server, SECONDARY),
        (Host::Server, FILTERED),
        (Host::Resolver, VALIDATING),
        (Host::Resolver, LYING),
        (Host::Resolver, POLICY),
    ] {
        lab.add_address(host, number)?;
    }
    for (name, number, zone) in [
        ("parent", PARENT, "test"),
        ("primary", PRIMARY, "good.test"),
        ("secondary", SECONDARY, "lag.test"),
        ("filtered", FILTERED, "filtered.test"),
    ] {
        let config = write_knot(lab, folder, name, number)?.display().to_string();
        lab.start_server_named(name, Host::Server, &["knotd", "-c", &config])?;
        lab.await_answer(name, lab.address_number(number), zone)?;
    }
    lab.drop_answers(Host::Server, lab.address_number(FILTERED), lab.client_addr())?;
    let tls = |certificate: &str| {
        let folder = lab.folder().join("tls");
        [
            format!("tls-service-pem: \"{}\"", folder.join(format!("{certificate}.pem")).display()),
            format!("tls-service-key: \"{}\"", folder.join(format!("{certificate}.key")).display()),
        ]
    };
    let anchors = folder.join(ANCHORS);
    let validating = [
        "module-config: \"validator iterator\"".to_owned(),
        format!("trust-anchor-file: \"{}\"", anchors.display()),
        "ede: yes".to_owned(),
    ];
    let lying = [
        "module-config: \"iterator\"".to_owned(),
        "local-zone: \"shop.good.test.\" redirect".to_owned(),
        "local-data: \"shop.good.test. A 203.0.113.66\"".to_owned(),
        "local-zone: \"shop.insecure.test.\" redirect".to_owned(),
        "local-data: \"shop.insecure.test. A 203.0.113.66\"".to_owned(),
    ];
    let resolvers = [
        ("validating", VALIDATING, [&validating[..], &tls("resolver")[..]].concat()),
        ("lying", LYING, [&lying[..], &tls("expired")[..]].concat()),
    ];
    for (name, number, options) in resolvers {
        let config = write_unbound(lab, name, number, &options)?.display().to_string();
        lab.start_server_named(name, Host::Resolver, &["unbound", "-d", "-p", "-c", &config])?;
        lab.await_answer(name, lab.address_number(number), "www.good.test")?;
    }
    let config = write_bind(lab, folder)?.display().to_string();
    let words = ["named", "-g", "-4", "-n", "1", "-c", &config];
    lab.start_server_named("policy", Host::Resolver, &words)?;
    lab.await_answer("policy", lab.address_number(POLICY), "www.good.test")
}
