//! Change of the captured ports at run time without losing messages, in three steps: the flow stages also look for
//! DNS on the new ports; the programs capture the new ports only; once the rings are empty, the flow stages stop
//! looking for DNS on the old ports.

use crate::capture::live::Live;
use crate::capture::ports::PortSet;

/// Progress of a change of ports.
#[derive(Debug, Default)]
pub(super) enum PortChange {
    /// All stages and the programs have the same ports.
    #[default]
    Done,
    /// The flow stages are to look for DNS on these ports, too.
    Adding(PortSet),
    /// The flow stages are to forget other ports, once the rings are empty.
    Removing,
}

impl PortChange {
    /// Starts a change to these ports, after [`Control::AddPorts`](crate::pipeline::Control::AddPorts).
    pub(super) const fn begin(ports: PortSet) -> Self {
        Self::Adding(ports)
    }

    /// Returns whether no step is left.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes the next step if all controls have taken effect (`is_settled`). Returns the ports once the programs
    /// capture them, for [`Control::SetPorts`](crate::pipeline::Control::SetPorts).
    pub(super) fn step(&mut self, live: &mut Live, is_settled: bool) -> Option<PortSet> {
        if !is_settled {
            return None;
        }
        let Self::Adding(ports) = std::mem::take(self) else { return None };
        if let Err(error) = live.set_ports(&ports) {
            tracing::error!("the ports stay unchanged: the kernel refuses others: {error}");
            return None;
        }
        *self = Self::Removing;
        Some(ports)
    }
}
