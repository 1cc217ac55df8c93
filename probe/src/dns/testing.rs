//! Servers for tests, which answer with bytes that the test makes.

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::{Name, RData, Record};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// Returns sockets for UDP and TCP at one free port of an address.
pub(crate) async fn sockets(address: IpAddr, port: u16) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        if let Ok(socket) = UdpSocket::bind((address, port)).await {
            return (socket, listener);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// Starts a server that answers each datagram with those that `reply` makes of it.
pub(crate) async fn udp(reply: impl Fn(Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(serve_udp(socket, reply));
    address
}

/// Answers each datagram with those that `reply` makes of it.
pub(crate) async fn serve_udp(socket: UdpSocket, reply: impl Fn(Message) -> Vec<Vec<u8>>) {
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        for datagram in reply(Message::from_vec(&buffer[..length]).unwrap()) {
            socket.send_to(&datagram, client).await.unwrap();
        }
    }
}

/// Answers one message of each connection with the message that `reply` makes of it.
pub(crate) async fn serve_tcp(listener: TcpListener, reply: impl Fn(Message) -> Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let Ok(length) = stream.read_u16().await else { continue };
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let response = reply(Message::from_vec(&query).unwrap());
        let length = u16::try_from(response.len()).unwrap();
        stream.write_u16(length).await.unwrap();
        stream.write_all(&response).await.unwrap();
    }
}

/// Begins the response to a query.
pub(crate) fn response(query: &Message) -> Message {
    let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    response.add_queries(query.queries.clone());
    response
}

/// Makes a record with a TTL of 60 seconds.
pub(crate) fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data)
}

/// Makes an A record with a TTL of 60 seconds.
pub(crate) fn a(name: &str, address: [u8; 4]) -> Record {
    record(name, RData::A(Ipv4Addr::from(address).into()))
}
