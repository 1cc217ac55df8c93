//! Configurations of the servers.

use super::{ServerKind, coredns};
use anyhow::Result;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const ZONE: &str = "$ORIGIN example.com.\n@ 60 IN SOA ns root 1 60 60 60 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\n\
    *.wild 60 IN A 192.0.2.25\n";

/// Writes the files of a server, and returns the command that starts it. The addresses are those of DNS and of statistics.
pub(super) fn write(
    kind: ServerKind,
    folder: &Path,
    addresses: (SocketAddr, SocketAddr),
    socket: Option<&Path>,
) -> Result<Command> {
    let at = |name: &str| folder.join(name).display().to_string();
    fs::write(at("example.zone"), ZONE)?;
    let socket = socket.map(|socket| socket.display().to_string());
    let socket = socket.as_deref();
    let (program, config, name, flags) = match kind {
        ServerKind::Unbound => (
            "unbound".into(),
            unbound(folder, addresses.0, socket),
            "unbound.conf",
            &["-d", "-p", "-c"][..],
        ),
        ServerKind::Bind => {
            ("named".into(), bind(folder, addresses, socket), "named.conf", &["-f", "-c"][..])
        }
        ServerKind::Knot => {
            ("knotd".into(), knot(folder, addresses.0, socket), "knot.conf", &["-c"][..])
        }
        ServerKind::CoreDns => {
            (coredns()?, core(folder, addresses, socket), "Corefile", &["-conf"][..])
        }
    };
    fs::write(at(name), config)?;
    let mut command = Command::new(program);
    command.args(flags).arg(at(name)).current_dir(folder);
    Ok(command)
}

fn unbound(folder: &Path, dns: SocketAddr, socket: Option<&str>) -> String {
    let (folder, port) = (folder.display(), dns.port());
    let dnstap = socket.map_or_else(String::new, |socket| {
        format!(
            "dnstap:\n dnstap-enable: yes\n dnstap-socket-path: \"{socket}\"\n dnstap-identity: \"unbound\"\n \
             dnstap-send-identity: yes\n dnstap-log-client-query-messages: yes\n \
             dnstap-log-client-response-messages: yes\n"
        )
    });
    format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n username: \"\"\n chroot: \"\"\n directory: \"{folder}\"\n \
         pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n incoming-num-tcp: 100\n \
         local-zone: \"wild.example.com.\" redirect\n local-data: \"wild.example.com. 60 IN A 192.0.2.25\"\n\
         remote-control:\n control-enable: yes\n control-interface: \"{folder}/control\"\n control-use-cert: no\n{dnstap}"
    )
}

fn bind(
    folder: &Path,
    (dns, statistics): (SocketAddr, SocketAddr),
    socket: Option<&str>,
) -> String {
    let dnstap = socket.map_or_else(String::new, |socket| {
        format!(
            "dnstap {{ all; }}; dnstap-output unix \"{socket}\"; dnstap-identity \"bind\";\n\
             fstrm-set-input-queue-size 16384;"
        )
    });
    format!(
        "options {{ directory \"{}\"; pid-file none; session-keyfile none; recursion no; notify no; dnssec-validation no;\n\
         listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; {dnstap} }};\n\
         controls {{ }};\nzone \"example.com\" {{ type primary; file \"example.zone\"; }};\n\
         statistics-channels {{ inet 127.0.0.1 port {} allow {{ any; }}; }};\n",
        folder.display(),
        dns.port(),
        statistics.port()
    )
}

fn knot(folder: &Path, dns: SocketAddr, socket: Option<&str>) -> String {
    let (module, modules) = socket.map_or_else(Default::default, |socket| {
        let module = format!(
            "mod-dnstap:\n  - id: all\n    sink: \"unix:{socket}\"\n    log-queries: on\n    log-responses: on\n    \
             identity: knot\n"
        );
        (module, ", mod-dnstap/all")
    });
    format!(
        "server:\n    listen: 127.0.0.1@{}\n    rundir: \"{folder}\"\ndatabase:\n    storage: \"{folder}\"\n\
         {module}mod-stats:\n  - id: all\n    server-operation: on\n\
         template:\n  - id: default\n    storage: \"{folder}\"\n    global-module: [mod-stats/all{modules}]\n\
         zone:\n  - domain: example.com\n    file: example.zone\n    zonefile-load: whole\n    journal-content: none\n",
        dns.port(),
        folder = folder.display()
    )
}

fn core(
    folder: &Path,
    (dns, statistics): (SocketAddr, SocketAddr),
    socket: Option<&str>,
) -> String {
    let dnstap = socket.map_or_else(String::new, |socket| {
        format!("    dnstap unix://{socket} full {{\n        identity coredns\n    }}\n")
    });
    format!(
        ".:{} {{\n    errors\n    prometheus {statistics}\n{dnstap}    file {}/example.zone example.com\n}}\n",
        dns.port(),
        folder.display()
    )
}
