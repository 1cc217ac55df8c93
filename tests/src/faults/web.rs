//! Web servers: nginx with a port for each certificate and each response, and scripted servers for what
//! nginx does not do.

use super::SHOP;
use crate::certificates::{Authority, Identity, Validity, self_signed};
use crate::lab::{Host, Lab, inside};
use crate::shell;
use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use openssl::x509::X509;
use rustix::net::sockopt::set_socket_linger;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Ports of the TLS servers, and what each has: file name of the certificate, further lines for nginx.
pub(super) const TLS: [(&str, u16, &str, &str); 15] = [
    ("good", 443, "good", ""),
    ("expired", 8401, "expired", ""),
    ("future", 8402, "future", ""),
    ("wrong-name", 8403, "wrong-name", ""),
    ("incomplete", 8404, "incomplete", ""),
    ("self-signed", 8405, "self-signed", ""),
    ("untrusted", 8406, "untrusted", ""),
    ("soon", 8407, "soon", ""),
    ("revoked", 8408, "revoked", "ssl_stapling on; ssl_stapling_file FOLDER/revoked.ocsp;"),
    ("tls12", 8409, "good", "ssl_protocols TLSv1.2;"),
    ("tls11", 8410, "good", "ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;"),
    ("long-chain", 8411, "long-chain", ""),
    ("revoked-by-list", 8412, "revoked-by-list", ""),
    ("list-away", 8413, "list-away", ""),
    ("mutual", 8414, "good", "ssl_verify_client on; ssl_client_certificate FOLDER/foreign.pem;"),
];

/// Name of the authority's revocation list, as a file and in its URL.
const LIST: &str = "issuing.crl";

/// Number of certificates in the long chain: each has more than 400 bytes.
const LONG_CHAIN: usize = 400;

/// Port of a TLS server by its name.
///
/// # Panics
/// There is no such server.
pub(super) fn port(name: &str) -> u16 {
    let found = TLS.iter().find(|(server, ..)| *server == name);
    assert!(found.is_some(), "no TLS server is called {name}");
    found.map_or(0, |(_, port, ..)| *port)
}

/// Port of a server that resets a connection after the client's first bytes.
pub(super) const RESET: u16 = 8501;
/// Port of a server that reads and never answers.
pub(super) const SILENT: u16 = 8502;
/// Port of a server that closes a connection after the client's first bytes.
pub(super) const CLOSE: u16 = 8503;
/// Port of a server that sends a byte each second.
pub(super) const TRICKLE: u16 = 8504;
/// Port of a server whose response comes after [`SLOW`], and its second half after [`SLOW_BODY`].
pub const SLOW_HTTP: u16 = 8505;
/// Port of a TLS server that begins the handshake after [`SLOW`].
pub const SLOW_TLS: u16 = 8506;
/// Port of a server whose response is compressed, and 64 MiB long when it is not.
pub(super) const BOMB: u16 = 8507;
/// Port of a server that sends headers without end.
pub(super) const ENDLESS_HEAD: u16 = 8508;
/// Port of a mail server.
pub(super) const SMTP: u16 = 25;
/// Port of a mail server whose certificate has expired.
pub(super) const SMTP_EXPIRED: u16 = 2525;
/// Delay of the slow servers: before the handshake, before the response.
pub const SLOW: Duration = Duration::from_millis(700);
/// Delay in the middle of the slow response.
pub const SLOW_BODY: Duration = Duration::from_millis(500);

/// What a scripted server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// Reads the client's first bytes and resets the connection.
    Reset,
    /// Reads and never answers.
    Silent,
    /// Reads the client's first bytes and closes.
    Close,
    /// Sends a byte of a response each second.
    Trickle,
    /// Responds after [`SLOW`], and sends the second half of the body after [`SLOW_BODY`].
    SlowHttp,
    /// Sends a compressed body that is far longer when it is not.
    Bomb,
    /// Sends headers until the client closes.
    EndlessHead,
    /// Passes on to the good TLS server after [`SLOW`].
    SlowTls(SocketAddr),
}

/// Issues all certificates below a folder: `NAME.pem` with the chain, `NAME.key`, and `ca.pem`. `server` is the
/// address at which the authority publishes its revocation list.
pub(super) fn write_certificates(folder: &Path, server: IpAddr) -> Result<()> {
    fs::create_dir_all(folder)?;
    let root = Authority::new("Lab Root CA")?;
    let authority = root.subordinate("Lab Issuing CA")?;
    let foreign = Authority::new("Unknown CA")?;
    let chain = authority.pem()?;
    fs::write(folder.join("ca.pem"), root.pem()?)?;
    fs::write(folder.join("issuing.pem"), &chain)?;
    fs::write(folder.join("issuing.key"), authority.key_pem()?)?;
    let names = [SHOP];
    let write = |name: &str, identity: &Identity, chain: &str| -> Result<()> {
        fs::write(folder.join(format!("{name}.key")), &identity.key)?;
        fs::write(folder.join(format!("{name}.pem")), identity.certificate.clone() + chain)?;
        Ok(())
    };
    let good = authority.server(&names, Validity::Current)?;
    write("good", &good, &chain)?;
    write("incomplete", &good, "")?;
    write("long-chain", &good, &chain.repeat(LONG_CHAIN))?;
    write("expired", &authority.server(&names, Validity::Expired)?, &chain)?;
    write("future", &authority.server(&names, Validity::Future)?, &chain)?;
    write("soon", &authority.server(&names, Validity::Days(13))?, &chain)?;
    write("wrong-name", &authority.server(&["mail.good.test"], Validity::Current)?, &chain)?;
    write("resolver", &authority.server(&["dns.good.test"], Validity::Current)?, &chain)?;
    fs::write(folder.join("foreign.pem"), foreign.pem()?)?;
    write("client", &foreign.client("probe", Validity::Current, None)?, "")?;
    write("untrusted", &foreign.server(&names, Validity::Current)?, "")?;
    write("self-signed", &self_signed(&names)?, "")?;
    let away = format!("http://{server}/gone.crl");
    write("list-away", &authority.server_with_list(&names, &away)?, &chain)?;
    let listed = authority.server_with_list(&names, &format!("http://{server}/{LIST}"))?;
    write("revoked-by-list", &listed, &chain)?;
    write_list(folder, &listed)?;
    let revoked = authority.server(&names, Validity::Current)?;
    write("revoked", &revoked, &chain)?;
    write_ocsp(folder, &revoked)
}

/// Writes the authority's revocation list, which has this certificate.
fn write_list(folder: &Path, revoked: &Identity) -> Result<()> {
    let certificate = X509::from_pem(revoked.certificate.as_bytes())?;
    let serial = certificate.serial_number().to_bn()?.to_hex_str()?.to_string();
    let line =
        format!("R\t491231235959Z\t250101000000Z,superseded\t{serial}\tunknown\t/CN=broker\n");
    fs::write(folder.join("revoked.txt"), line)?;
    fs::write(folder.join("number"), "01\n")?;
    let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = revoked.txt\ncrlnumber = number\n\
                  default_md = sha256\nprivate_key = issuing.key\ncertificate = issuing.pem\n";
    fs::write(folder.join("ca.cnf"), config)?;
    let mut list = Command::new("openssl");
    list.current_dir(folder).args(["ca", "-config", "ca.cnf", "-gencrl", "-crldays", "7"]);
    shell::output(list.args(["-out", "list.pem"]))?;
    let mut encode = Command::new("openssl");
    encode.current_dir(folder).args(["crl", "-in", "list.pem", "-outform", "DER", "-out", LIST]);
    shell::output(&mut encode).map(drop)
}

/// Writes `revoked.ocsp`: the signed response of an OCSP responder that knows the certificate as revoked.
fn write_ocsp(folder: &Path, revoked: &Identity) -> Result<()> {
    let certificate = X509::from_pem(revoked.certificate.as_bytes())?;
    let serial = certificate.serial_number().to_bn()?.to_hex_str()?.to_string();
    let index = format!("R\t491231235959Z\t250101000000Z\t{serial}\tunknown\t/CN=broker\n");
    fs::write(folder.join("index.txt"), index)?;
    let mut ocsp = Command::new("openssl");
    ocsp.current_dir(folder).args(["ocsp", "-index", "index.txt", "-CA", "issuing.pem"]);
    ocsp.args(["-rsigner", "issuing.pem", "-rkey", "issuing.key", "-issuer", "issuing.pem"]);
    ocsp.args(["-cert", "revoked.pem", "-ndays", "7", "-respout", "revoked.ocsp", "-noverify"]);
    shell::output(&mut ocsp).map(drop)
}

/// Starts nginx and the scripted servers on the server's host.
pub(super) fn start(lab: &mut Lab) -> Result<()> {
    let address = lab.address(Host::Server);
    let config = write_nginx(lab.folder(), address)?.display().to_string();
    lab.start_server_named("nginx", Host::Server, &["nginx", "-c", &config])?;
    let at = |port| SocketAddr::new(address, port);
    shell::wait_for("nginx", Duration::from_mins(1), || {
        let words = ["curl", "-sf", "-o", "/dev/null", &format!("http://{}/health", at(80))];
        Ok(lab.run(Host::Client, &words)?.status.success().then_some(()))
    })
    .with_context(|| fs::read_to_string(lab.folder().join("nginx.log")).unwrap_or_default())?;
    for (port, script) in [
        (RESET, Script::Reset),
        (SILENT, Script::Silent),
        (CLOSE, Script::Close),
        (TRICKLE, Script::Trickle),
        (SLOW_HTTP, Script::SlowHttp),
        (SLOW_TLS, Script::SlowTls(at(443))),
        (BOMB, Script::Bomb),
        (ENDLESS_HEAD, Script::EndlessHead),
    ] {
        let listener = lab.inside(Host::Server, || TcpListener::bind(at(port)))??;
        let namespace = lab.namespace_path(Host::Server);
        // Ends with the process: it holds nothing but its sockets.
        thread::spawn(move || inside(&namespace, || serve(&listener, script)));
    }
    start_mail(lab, at(SMTP), "good")?;
    start_mail(lab, at(SMTP_EXPIRED), "expired")
}

/// Starts a mail server that offers STARTTLS with a certificate.
fn start_mail(lab: &mut Lab, address: SocketAddr, certificate: &str) -> Result<()> {
    let file =
        |ending| lab.folder().join(format!("tls/{certificate}.{ending}")).display().to_string();
    let (listen, pem, key) = (address.to_string(), file("pem"), file("key"));
    let words = ["aiosmtpd", "-n", "-l", &listen, "--tlscert", &pem, "--tlskey", &key];
    lab.start_server_named(&format!("mail-{certificate}"), Host::Server, &words)?;
    shell::wait_for("aiosmtpd", Duration::from_mins(1), || {
        let connected = lab.inside(Host::Client, || TcpStream::connect(address))?;
        Ok(connected.is_ok().then_some(()))
    })
}

fn write_nginx(folder: &Path, address: IpAddr) -> Result<std::path::PathBuf> {
    let run = folder.join("nginx");
    fs::create_dir_all(&run)?;
    let tls = folder.join("tls");
    let mut servers = String::new();
    let locations = "location = /health { return 200 \"status ok\\n\"; } \
         location = /503 { return 503 \"sorry\\n\"; } \
         location = /loop { return 302 /loop; } \
         location = /private { return 302 http://10.0.0.1/; } \
         location = /moved { return 302 /health; } \
         location / { return 404 \"not here\\n\"; }";
    for (_, port, certificate, lines) in TLS {
        let lines = lines.replace("FOLDER", &tls.display().to_string());
        servers.extend([format!(
            "server {{ listen {address}:{port} ssl http2; ssl_certificate {tls}/{certificate}.pem; \
             ssl_certificate_key {tls}/{certificate}.key; {lines} {locations} }}\n",
            tls = tls.display()
        )]);
    }
    let list = format!("location = /{LIST} {{ root {}; }}", tls.display());
    servers.extend([format!("server {{ listen {address}:80; {list} {locations} }}\n")]);
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {run}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\nhttp {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; default_type text/plain;\n\
         client_body_temp_path {run}/body; proxy_temp_path {run}/proxy; fastcgi_temp_path {run}/fastcgi;\n\
         uwsgi_temp_path {run}/uwsgi; scgi_temp_path {run}/scgi;\n{servers}}}\n",
        run = run.display()
    );
    let path = run.join("nginx.conf");
    fs::write(&path, config)?;
    Ok(path)
}

fn serve(listener: &TcpListener, script: Script) {
    for stream in listener.incoming().flatten() {
        // A client that goes away ends its connection's thread.
        thread::spawn(move || run(stream, script));
    }
}

fn run(mut stream: TcpStream, script: Script) -> io::Result<()> {
    let mut first = [0; 4096];
    match script {
        // With bytes unread, the kernel would reset the connection.
        Script::Close => stream.read(&mut first).map(drop),
        Script::Reset => {
            let _ = stream.read(&mut first)?;
            Ok(set_socket_linger(&stream, Some(Duration::ZERO))?)
        }
        Script::Silent => io::copy(&mut stream, &mut io::sink()).map(drop),
        Script::Trickle => {
            let _ = stream.read(&mut first)?;
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n" {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        Script::SlowHttp => {
            let _ = stream.read(&mut first)?;
            thread::sleep(SLOW);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstatu")?;
            thread::sleep(SLOW_BODY);
            stream.write_all(b"s ok\n")
        }
        Script::Bomb => {
            let _ = stream.read(&mut first)?;
            let mut body = GzEncoder::new(Vec::new(), Compression::fast());
            let block = vec![0; 1 << 20];
            for _ in 0..8 {
                body.write_all(&block)?;
            }
            let body = body.finish()?;
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        }
        Script::EndlessHead => {
            let _ = stream.read(&mut first)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(b"X-Header: value\r\n")?;
            }
        }
        Script::SlowTls(server) => {
            thread::sleep(SLOW);
            let mut upstream = TcpStream::connect(server)?;
            let (mut from, mut to) = (stream.try_clone()?, upstream.try_clone()?);
            let forward = thread::spawn(move || io::copy(&mut from, &mut to).map(drop));
            io::copy(&mut upstream, &mut stream)?;
            stream.shutdown(std::net::Shutdown::Both)?;
            // Ends because both sides are closed; what it copied last does not matter.
            let _ = forward.join();
            Ok(())
        }
    }
}
