//! A DNS client whose socket calls are chosen by the test. It opens a socket, prints `ready`, then
//! sends a query for each name that it reads from standard input and prints the result.
//!
//! `dns-client connected|unconnected|forked ADDRESS:PORT`. With `forked`, a child process sends
//! each query over the inherited socket. Output: `PID answered|timeout|refused`.

use anyhow::{Context as _, Result, bail};
use std::io::{self, BufRead as _, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        // The child process of `forked`: standard input is the parent's socket.
        ["inherited", server, name] => {
            let socket: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
            say(&ask(&UdpSocket::from(socket), server.parse()?, name)?)
        }
        [mode @ ("connected" | "unconnected" | "forked"), server] => serve(mode, server),
        _ => bail!("usage: dns-client connected|unconnected|forked ADDRESS:PORT"),
    }
}

fn serve(mode: &str, server: &str) -> Result<()> {
    let address: SocketAddr = server.parse().context("ADDRESS:PORT")?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    if mode == "connected" {
        socket.connect(address)?;
    }
    say("ready")?;
    for name in io::stdin().lock().lines() {
        let name = name?;
        if mode == "forked" {
            let inherited = OwnedFd::from(socket.try_clone()?);
            let mut child = Command::new(std::env::current_exe()?);
            child.args(["inherited", server, &name]).stdin(Stdio::from(inherited));
            child.status()?;
        } else {
            say(&ask(&socket, address, &name)?)?;
        }
    }
    Ok(())
}

/// Queries the address of a name and returns the result.
fn ask(socket: &UdpSocket, server: SocketAddr, name: &str) -> Result<String> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    let query = query(name)?;
    let sent = match socket.peer_addr() {
        Ok(_) => socket.send(&query),
        Err(_) => socket.send_to(&query, server),
    };
    let mut answer = [0; 4096];
    let how = match sent.and_then(|_| socket.recv(&mut answer)) {
        Ok(_) => "answered",
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => "refused",
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            "timeout"
        }
        Err(error) => return Err(error.into()),
    };
    Ok(format!("{} {how}", std::process::id()))
}

/// A query for the A records of a name (RFC 1035, section 4.1).
fn query(name: &str) -> Result<Vec<u8>> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).context("a label is too long")?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    Ok(query)
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush().context("standard output")
}
