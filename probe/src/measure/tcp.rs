//! `tcp`: whether a port accepts a connection.

use super::{Context, begin, finish, host};
use crate::target::{Target, TcpTarget};
use dnscribe_record::ProbeFields;
use tokio::time::Instant;

/// Measures the time to resolve the host and to connect.
pub(super) async fn measure(context: &Context, target: &Target, tcp: &TcpTarget) -> ProbeFields {
    let start = Instant::now();
    let mut fields = begin(context, target);
    let connected = host::connect(context, &mut fields, &tcp.host, start + target.timeout).await;
    finish(fields, start.into_std(), connected.map(drop))
}
