//! Other ports while capture goes on, without a message lost: first whoever reads packets learns of those
//! that are new, then the programs tell of them and no longer of those that go, and once all that was told
//! of these has been read they are forgotten.

use super::crew::Crew;
use crate::capture::live::Live;
use crate::capture::ports::PortSet;
use crate::pipeline::Pipeline;
use crate::time::Timestamp;

/// How far the change of ports has got.
#[derive(Debug, Default)]
pub(super) struct PortChange(Stage);

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Done,
    /// Those that read packets are told of these.
    Widening(PortSet),
    /// Packets of other ports than these may still be in the ring.
    Narrowing(PortSet),
}

impl PortChange {
    /// Begins to watch these ports instead.
    pub(super) fn begin(ports: PortSet, pipeline: &mut Pipeline, crew: Option<&mut Crew>) -> Self {
        pipeline.widen(&ports);
        if let Some(crew) = crew {
            crew.widen(&ports);
        }
        Self(Stage::Widening(ports))
    }

    /// Whether nothing of it is left to do.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.0, Stage::Done)
    }

    /// Goes on, where that can be. Gives the ports once they are watched.
    pub(super) fn step(
        &mut self,
        live: &mut Live,
        pipeline: &mut Pipeline,
        crew: Option<&Crew>,
    ) -> Option<PortSet> {
        match std::mem::take(&mut self.0) {
            Stage::Widening(ports) if crew.is_none_or(Crew::has_widened) => {
                if let Err(error) = live.watch(&ports) {
                    tracing::error!(
                        "the ports stay as they were: the kernel refuses others: {error}"
                    );
                    return None;
                }
                match crew {
                    Some(crew) => crew.narrow(&ports),
                    None => self.0 = Stage::Narrowing(ports.clone()),
                }
                return Some(ports);
            }
            Stage::Narrowing(ports) if live.is_empty(0) => {
                pipeline.narrow(&ports, Timestamp::now());
            }
            stage => self.0 = stage,
        }
        None
    }
}
