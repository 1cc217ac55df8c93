//! Changes of settings while a pipeline runs. Each stage, in whatever thread, gets the same [`Control`] value
//! and applies what concerns it.

use super::renderer::RenderOptions;
use crate::pipeline::filter::StreamFilters;
use dnscribe_analysis::detect::{DetectOptions, HostFacts};
use dnscribe_analysis::indicators::IndicatorTable;
use dnscribe_analysis::window::WindowOptions;
use dnscribe_record::privacy::MaskingRules;
use dnscribe_record::time::ClockShift;
use dnscribe_transaction::encrypted::ConnectionOptions;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::sampling::Change;
use dnscribe_transaction::pair::PairOptions;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A change of settings, for every stage.
#[derive(Clone, Debug)]
pub enum Control {
    /// Use these settings.
    Reconfigure(Arc<Settings>),
    /// Match transactions with these indicators.
    Match(Arc<IndicatorTable>),
    /// Change the sampling ratio.
    Sample(Change),
    /// Write records by the host's clock, which was set this far since capture began.
    SetClock(ClockShift),
    /// Render these parts of records in the flow stages.
    Render(RenderOptions),
    /// Look for DNS on these ports, too.
    AddPorts(PortSet),
    /// Look for DNS on these ports only, as soon as the ring was found empty: by then no packet of other ports
    /// can follow. Queries on other ports become `open`.
    SetPorts(PortSet),
}

/// Settings that can change while a pipeline runs, other than sinks and ports.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Timeout and limits of pairing.
    pub pairing: PairOptions,
    /// Timeouts and limits of connections of encrypted DNS.
    pub connections: ConnectionOptions,
    /// Names of resolvers by address.
    pub resolvers: HashMap<IpAddr, String>,
    /// Which windows are exported.
    pub windows: WindowOptions,
    /// Thresholds of detection, and what it knows of the host; none if it is off.
    pub detect: Option<(DetectOptions, HostFacts)>,
    /// Indicators that transactions are matched with.
    pub indicators: Arc<IndicatorTable>,
    /// Which records are exported.
    pub filters: StreamFilters,
    /// How fields of records are masked.
    pub privacy: MaskingRules,
}
