//! The new agent's side: asks a running agent for its capture, and continues from where that one stops.

use super::server::HandoverServer;
use super::{
    FIRST_TIMEOUT, FrameKind, FrameSocket, HandoverError, HandoverState, Hello, LAST_TIMEOUT,
    Offer, is_trusted, own_user, page,
};
use crate::capture::live::{CaptureHandles, Live, LiveOptions};
use crate::pair::{HandoverQuery, HandoverQueryState};
use crate::pipeline::{FlowStage, Pipeline};
use dnscribe_record::time::Timestamp;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A running agent that is ready to hand over.
pub struct RunningAgent {
    frames: FrameSocket,
    /// Start of its capture.
    pub epoch: Timestamp,
    /// Process id of the agent.
    pub pid: u32,
}

/// Capture of a running agent, its listening socket, and the agent itself, which still reads.
pub struct SharedCapture {
    /// The capture, not yet read by this process.
    pub live: Live,
    /// Listens for the agent that takes over from this one.
    pub server: HandoverServer,
    /// The agent that still reads.
    pub running: RunningAgent,
}

/// Asks the agent that listens at `path` for its capture. Returns none if no agent listens there.
///
/// # Errors
/// The agent refuses, fails, or belongs to another user.
pub fn request(
    path: &Path,
    hello: &Hello,
    options: &LiveOptions,
) -> Result<Option<SharedCapture>, HandoverError> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let socket = match UnixStream::connect(path) {
        Ok(socket) => socket,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut frames = FrameSocket::new(socket, FIRST_TIMEOUT)?;
    let user = frames.peer_user()?;
    if !is_trusted(user, own_user()) {
        return Err(format!("it belongs to user {user}").into());
    }
    frames.send_json(FrameKind::Hello, hello)?;
    let offer: Offer = frames.expect_json(FrameKind::Offer)?;
    let mut descriptors = frames.take_descriptors().into_iter();
    let listener = descriptors.next().ok_or("it has sent no descriptors")?;
    let descriptors: Vec<_> = descriptors.collect();
    if descriptors.len() != offer.parts.len() {
        return Err(
            format!("{} of {} descriptors came", descriptors.len(), offer.parts.len()).into()
        );
    }
    let parts = CaptureHandles { about: offer.about, names: offer.parts, descriptors };
    let live = Live::adopt(parts, options).map_err(|error| error.to_string())?;
    tracing::info!(pid = offer.pid, "about to take over: {}", live.description);
    let epoch = Timestamp::from_nanos(offer.epoch);
    let running = RunningAgent { frames, epoch, pid: offer.pid };
    let server = HandoverServer::new(listener.into());
    Ok(Some(SharedCapture { live, server, running }))
}

impl RunningAgent {
    /// Stops the agent, and continues from its state: the capture, which has readers afterwards, the flow stages,
    /// of which there must be one per ring, and the pipeline.
    ///
    /// # Errors
    /// The agent has not handed over. It continues.
    pub fn take_over(
        mut self,
        live: &mut Live,
        nice: u8,
        pipeline: &mut Pipeline,
        flows: &mut [FlowStage],
    ) -> Result<(), HandoverError> {
        self.frames.set_limit(LAST_TIMEOUT)?;
        self.frames.send(FrameKind::Go, &[])?;
        let state: HandoverState = self.frames.expect_json(FrameKind::State)?;
        let HandoverState { progress, shards, pipeline: merge, stopped } = state;
        if shards.len() != flows.len() {
            return Err("it has another number of threads".into());
        }
        for (flow, shard) in flows.iter_mut().zip(&shards) {
            flow.continue_from(shard);
        }
        let stopped = Timestamp::from_nanos(stopped);
        pipeline.continue_from(&merge, stopped, flows);
        let queries = self.import_queries(pipeline, flows)?;
        let received = shards.iter().map(|shard| shard.received().to_vec()).collect();
        live.resume(progress, received, nice).map_err(|error| error.to_string())?;
        self.frames.send(FrameKind::Took, &[])?;
        self.frames.expect(FrameKind::Over)?;
        let unread = live.now().since(stopped);
        let unread_ms = u64::try_from(unread.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(pid = self.pid, queries, unread_ms, "taken over");
        Ok(())
    }

    /// Reads pages of queries up to the last one. Returns the number of queries that wait for a response.
    fn import_queries(
        &mut self,
        pipeline: &mut Pipeline,
        flows: &mut [FlowStage],
    ) -> Result<u64, HandoverError> {
        let mut waiting = 0;
        loop {
            match self.frames.read()? {
                (FrameKind::Page, page) => {
                    page::read(&page, &mut |shard, carried: &HandoverQuery<'_>| {
                        waiting += u64::from(carried.state == HandoverQueryState::Waiting);
                        if let Some(flow) = flows.get_mut(shard) {
                            flow.import_query(carried, pipeline);
                        }
                    })?;
                }
                (FrameKind::End, _) => return Ok(waiting),
                (kind, _) => return Err(format!("it sends {kind:?}").into()),
            }
        }
    }
}
