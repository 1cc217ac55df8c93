//! Section `kubernetes`.

use super::layer::{Over, layer};
use super::shape::{items, text};
use super::value::{BadValue, Name, PositiveSpan};
use super::{ConfigError, Purpose};
use crate::enrich::kubernetes::{KubernetesConfig, TOKEN};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long the API may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The variable by which pods of a cluster find its API.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// The variable that the downward API is usually asked to put the node's name in.
const NODE_NAME: &str = "NODE_NAME";

/// Labels of a pod in its records at most.
const MAX_LABELS: usize = 16;

layer! {
    /// Section `kubernetes`.
    KubernetesLayer {
        /// Whether pods are named: true, false, or auto, which is where this is a pod with a service
        /// account, or where kubeconfig is given.
        #[serde(deserialize_with = "text")]
        enabled: Option<Enabled> = default("auto"),
        /// The node whose pods are: unless given NODE_NAME of the environment, else the host's name.
        #[serde(deserialize_with = "text")]
        node_name: Option<Name> = example("worker-1"),
        /// How to reach the API from outside of a pod.
        #[serde(deserialize_with = "text")]
        kubeconfig: Option<PathBuf> = example("/etc/dnscribe/kubeconfig"),
        /// The labels of pods that records show.
        #[serde(deserialize_with = "items")]
        labels: Option<Vec<Label>> = example("[team, app.kubernetes.io/name]"),
        /// How long the API may take.
        #[serde(deserialize_with = "text")]
        timeout: Option<PositiveSpan> = default("10s"),
    }
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enabled {
    /// Where it can be.
    #[default]
    Auto,
    /// Yes.
    Yes,
    /// No.
    No,
}

impl FromStr for Enabled {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" => Ok(Self::Yes),
            "false" => Ok(Self::No),
            _ => Err(BadValue::new(text, "auto, true or false", "one of them")),
        }
    }
}

/// The key of a label: `team`, `app.kubernetes.io/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

impl FromStr for Label {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (prefix, name) =
            text.split_once('/').map_or(("x", text), |(prefix, name)| (prefix, name));
        let edge = |octet: Option<u8>| octet.is_some_and(|octet| octet.is_ascii_alphanumeric());
        let is_legal = |part: &str, most: usize, more: &[u8]| {
            part.len() <= most
                && edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|octet| octet.is_ascii_alphanumeric() || more.contains(&octet))
        };
        if is_legal(prefix, 253, b"-.") && is_legal(name, 63, b"-._") {
            return Ok(Self(text.to_owned()));
        }
        Err(BadValue::new(text, "the key of a label", "one such as app.kubernetes.io/name"))
    }
}

/// How the pods of this node are watched, if they are. `environment` tells whether this is a pod.
pub(super) fn resolve(
    layer: KubernetesLayer,
    environment: &[(OsString, OsString)],
    purpose: Purpose,
) -> Result<Option<KubernetesConfig>, ConfigError> {
    let variable = |wanted: &str| {
        let found = environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.to_string_lossy()).filter(|value| !value.is_empty())
    };
    let labels: Vec<String> =
        layer.labels.unwrap_or_default().into_iter().map(|Label(label)| label).collect();
    if labels.len() > MAX_LABELS {
        let given = labels.len();
        return wrong(&format!("{given} labels are too many: give {MAX_LABELS} at most"));
    }
    let is_pod = variable(SERVICE_HOST).is_some() && Path::new(TOKEN).exists();
    let wanted = match layer.enabled.unwrap_or_default() {
        // A capture file is not of this node.
        _ if purpose == Purpose::Replay => false,
        Enabled::No => false,
        Enabled::Auto => is_pod || layer.kubeconfig.is_some(),
        Enabled::Yes if !is_pod && layer.kubeconfig.is_none() => {
            return wrong(&format!(
                "this is no pod with a service account ({SERVICE_HOST} and {TOKEN}): give kubeconfig, \
                 or enabled: auto"
            ));
        }
        Enabled::Yes => true,
    };
    let named = layer.node_name.map(|Name(name)| name);
    let named = named.or_else(|| variable(NODE_NAME).map(Into::into));
    Ok(wanted.then(|| KubernetesConfig {
        // A kubelet calls its node so unless told otherwise; a node without pods is reported.
        node_name: named.unwrap_or_else(|| super::default_node(Purpose::Live).to_lowercase()),
        kubeconfig: layer.kubeconfig,
        labels,
        timeout: layer.timeout.map_or(TIMEOUT, |span| span.0),
    }))
}

fn wrong<T>(what: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Kubernetes(format!("kubernetes: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;
    use crate::config::{Config, Sources};
    use std::fs;

    fn load(
        yaml: &str,
        environment: &[(&str, &str)],
        purpose: Purpose,
    ) -> Result<Option<KubernetesConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dnscribe.yaml");
        fs::write(&file, format!("version: 1\n{yaml}")).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let environment = environment.collect();
        let sources = Sources { purpose, file: Some(file), environment, flags: Layer::default() };
        Config::load(&sources).map(|config| config.kubernetes).map_err(|error| error.to_string())
    }

    #[test]
    fn is_off_where_there_is_no_cluster() {
        assert_eq!(load("", &[], Purpose::Live), Ok(None));
        // The variable without the token: a pod whose token is not mounted.
        assert_eq!(load("", &[(SERVICE_HOST, "10.0.0.1")], Purpose::Live), Ok(None));
        let told = load("kubernetes: { enabled: true }", &[], Purpose::Live).unwrap_err();
        assert!(told.contains("give kubeconfig"), "{told}");
    }

    #[test]
    fn a_kubeconfig_switches_it_on() {
        let yaml =
            "kubernetes:\n  kubeconfig: /etc/kube\n  labels: [team, app.kubernetes.io/name]\n";
        let config = load(yaml, &[(NODE_NAME, "n-1")], Purpose::Live).unwrap().unwrap();
        assert_eq!((config.node_name.as_str(), config.timeout), ("n-1", TIMEOUT));
        assert_eq!(config.labels, ["team", "app.kubernetes.io/name"]);
        let own = "DNSCRIBE_KUBERNETES__NODE_NAME";
        let config = load(yaml, &[(NODE_NAME, "n-1"), (own, "n-2")], Purpose::Live).unwrap();
        assert_eq!(config.unwrap().node_name, "n-2");
        let off = yaml.replace("labels", "enabled: false\n  labels");
        assert_eq!(load(&off, &[], Purpose::Live), Ok(None));
        assert_eq!(load(yaml, &[], Purpose::Replay), Ok(None));
    }

    #[test]
    fn says_what_is_no_label() {
        let many: Vec<String> = (0..17).map(|number| format!("l{number}")).collect();
        let many = many.join(", ");
        for (labels, why) in [
            ("\"a b\"", "line 2"),
            ("-a", "not the key of a label"),
            ("a/b/c", "not the key of a label"),
            ("x/", "not the key of a label"),
            (many.as_str(), "17 labels are too many"),
        ] {
            let yaml = format!("kubernetes: {{ labels: [{labels}] }}\n");
            let told = load(&yaml, &[], Purpose::Live).unwrap_err();
            assert!(told.contains(why) && told.contains("give"), "{told}");
        }
    }
}
