//! `tcp`: whether a port accepts a connection.

use super::{Context, begin, dialogue, finish, host};
use crate::target::{Target, TcpTarget};
use dnscribe_record::ProbeFields;
use tokio::time::Instant;

/// Measures the time to resolve the host and to connect, and holds the dialogue.
pub(super) async fn measure(context: &Context, target: &Target, tcp: &TcpTarget) -> ProbeFields {
    let start = Instant::now();
    let deadline = start + target.timeout;
    let mut fields = begin(context, target);
    let result = match host::connect(context, &mut fields, &tcp.host, deadline).await {
        Ok(stream) => {
            let labels = &mut fields.response_labels;
            dialogue::hold(stream, &tcp.query_response, labels, deadline).await.map(drop)
        }
        Err(failure) => Err(failure),
    };
    finish(fields, start.into_std(), result)
}
