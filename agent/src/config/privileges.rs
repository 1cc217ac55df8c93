//! Section `privileges`.

use super::layer::Layer;
use caps::{Capability, CapsHashSet};
use dnscribe_config::value::Name;
use dnscribe_config::{section, value};
use dnscribe_record::named_enum;
use std::path::PathBuf;

section! {
    /// Section `privileges`.
    PrivilegesLayer {
        /// Privileges that `run` drops once it has attached its programs: `auto`, all that can be
        /// dropped, with a warning for the rest; `strict`, all, or `run` fails; `off`, none.
        text drop: Option<Drop> = default(Drop::Auto),
        /// User, by name or number, that `run` becomes when it was started as root. Default:
        /// `dnscribe` if this user exists, else `nobody`.
        text user: Option<Name> = example("dnscribe"),
        /// Capabilities, by name, that `run` does not drop in the process that reads packets. Default:
        /// none; ordinary use needs none.
        items keep: Option<Vec<KeptCapability>> = example("[CAP_SYS_NICE]"),
    }
}

named_enum! {
    /// Privileges that are dropped once capture has begun.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Drop: "a way to drop privileges", "give one of" {
        /// All that can be dropped; the rest is logged.
        Auto = "auto",
        /// All; a privilege that cannot be dropped ends the run.
        Strict = "strict",
        /// None.
        Off = "off",
    }
}

value! {
    /// A capability by its name (manual page `capabilities`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    KeptCapability(Capability): "a capability", "one of Linux, such as CAP_SYS_NICE";
    |text| text.parse().ok();
    ToString::to_string
}

/// Settings of the privilege drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Whether privileges are dropped, and what a failure means.
    pub drop: Drop,
    /// User, by name or number, that the agent becomes where it is root. Where absent, `dnscribe` if
    /// this user exists, else `nobody`.
    pub user: Option<String>,
    /// Capabilities that are not dropped.
    pub keep: CapsHashSet,
}

/// Fills in the defaults.
pub(super) fn resolve(layer: PrivilegesLayer) -> Privileges {
    let keep = layer.keep.iter().flatten().map(|one| one.0).collect();
    Privileges { drop: layer.drop(), user: layer.user.map(|user| user.0), keep }
}

/// Returns the files besides the configuration itself that are read with it, and at each reload.
pub(super) fn secret_files(layer: &Layer) -> Vec<PathBuf> {
    let (alertmanager, otlp) = (&layer.alertmanager, &layer.otlp);
    let others = [
        &layer.kafka.registry.password_file,
        &alertmanager.password_file,
        &alertmanager.bearer_token_file,
        &otlp.password_file,
        &otlp.bearer_token_file,
        &layer.privacy.key_file,
    ];
    let others = others.into_iter().flatten();
    let headers = otlp.header_files.values();
    layer.kafka.option_files.values().chain(headers).chain(others).cloned().collect()
}
