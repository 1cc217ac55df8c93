//! Configuration of knot and unbound, and the zones of the lab.

use super::Host;
use super::network::{ipv4, ipv6};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// Writes knot's configuration and zones.
pub fn write(folder: &Path, slot: u8) -> Result<()> {
    let zones = folder.join("zones");
    fs::create_dir_all(&zones).context("cannot make the server's folder")?;
    let (v4, v6) = (ipv4(slot, Host::Server.number()), ipv6(slot, Host::Server.number()));
    let listen: Vec<std::net::IpAddr> = vec![v4.into(), v6.into()];
    fs::write(folder.join("knot.conf"), knot(folder, &listen, 53))?;
    fs::write(zones.join("root.zone"), parent(".", "com.", slot))?;
    fs::write(zones.join("com.zone"), parent("com.", "example.com.", slot))?;
    fs::write(zones.join("example.com.zone"), example(slot))?;
    Ok(())
}

/// Configuration of knot for the three zones.
fn knot(folder: &Path, listen: &[std::net::IpAddr], port: u16) -> String {
    let folder = folder.display();
    let listen: Vec<String> = listen.iter().map(|at| format!("{at}@{port}")).collect();
    format!(
        "server:\n  rundir: \"{folder}\"\n  listen: [ {} ]\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: warning\n\
         database:\n  storage: \"{folder}/db\"\n\
         template:\n  - id: default\n    storage: \"{folder}/zones\"\n    zonefile-sync: -1\n\
         zone:\n  - domain: .\n    file: root.zone\n  - domain: com\n    file: com.zone\n  \
         - domain: example.com\n    file: example.com.zone\n",
        listen.join(", ")
    )
}

/// A zone with one delegation: every name server of the lab is the same.
fn parent(zone: &str, child: &str, slot: u8) -> String {
    let (v4, v6) = (ipv4(slot, Host::Server.number()), ipv6(slot, Host::Server.number()));
    format!(
        "$ORIGIN {zone}\n$TTL 3600\n@ SOA ns.example.com. hostmaster.example.com. 1 3600 600 86400 \
         60\n@ NS ns.example.com.\n{child} NS ns.example.com.\nns.example.com. A {v4}\n\
         ns.example.com. AAAA {v6}\n"
    )
}

/// The zone that clients query.
fn example(slot: u8) -> String {
    let (v4, v6) = (ipv4(slot, Host::Server.number()), ipv6(slot, Host::Server.number()));
    let text = "0123456789abcdef".repeat(12);
    // About 2,400 bytes: more than any UDP answer here may have, so the answer is truncated.
    let big = (0..12).fold(String::new(), |big, n| big + &format!("big TXT \"{n} {text}\"\n"));
    format!(
        "$ORIGIN example.com.\n$TTL 300\n\
         @ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A {v4}\nns AAAA {v6}\n\
         @ A 192.0.2.1\n@ AAAA 2001:db8::1\n@ MX 10 mail\n@ TXT \"v=spf1 -all\"\n\
         @ CAA 0 issue \"ca.example.net\"\n\
         www A 192.0.2.80\nwww AAAA 2001:db8::80\nmail A 192.0.2.25\n\
         alias CNAME www\nchain CNAME alias\nmany A 192.0.2.11\nmany A 192.0.2.12\n\
         many A 192.0.2.13\nbrief 1 A 192.0.2.90\nv6only AAAA 2001:db8::66\n\
         _dns._udp SRV 0 5 53 ns\nsvc HTTPS 1 . alpn=h2\n*.wild 60 A 192.0.2.200\n\
         *.wild 60 AAAA 2001:db8::200\n*.brief 1 A 192.0.2.91\n*.aliases CNAME cdn.brief\n{big}"
    )
}

/// Writes the configuration of unbound, with the lab's server as the only root; `options` are
/// additional lines of its section `server`.
pub fn write_resolver(folder: &Path, slot: u8, options: &[&str]) -> Result<()> {
    fs::create_dir_all(folder).context("cannot make the resolver's folder")?;
    let server = ipv4(slot, Host::Server.number());
    let hints = folder.join("root.hints");
    fs::write(
        &hints,
        format!(". 3600000 NS ns.example.com.\nns.example.com. 3600000 A {server}\n"),
    )?;
    let (v4, v6) = (ipv4(slot, Host::Resolver.number()), ipv6(slot, Host::Resolver.number()));
    let options = options.iter().fold(String::new(), |all, option| all + "  " + option + "\n");
    let config = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  directory: \"{folder}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n  interface: {v4}\n  interface: {v6}\n  \
         access-control: 0.0.0.0/0 allow\n  access-control: ::0/0 allow\n  \
         module-config: \"iterator\"\n  do-not-query-localhost: no\n  root-hints: \"{hints}\"\n  \
         edns-buffer-size: 1232\n  num-threads: 1\n  outgoing-range: 4096\n  \
         num-queries-per-thread: 2048\n  incoming-num-tcp: 512\n  so-rcvbuf: 0\n{options}remote-control:\n  \
         control-enable: yes\n  control-interface: \"{folder}/control\"\n  control-use-cert: no\n",
        folder = folder.display(),
        hints = hints.display(),
    );
    fs::write(folder.join("unbound.conf"), config).context("cannot write unbound's configuration")
}
