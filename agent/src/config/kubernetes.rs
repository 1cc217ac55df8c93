//! Section `kubernetes`.

use super::{Purpose, default_node};
use crate::enrich::kubernetes::{KubernetesConfig, TOKEN_PATH};
use dnscribe_config::value::{Name, PositiveSpan};
use dnscribe_config::{ConfigError, section, value};
use dnscribe_record::named_enum;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Environment variable that gives pods the address of the API.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Environment variable that usually contains the node's name, set through the downward API.
const NODE_NAME: &str = "NODE_NAME";

/// Number of labels in records.
const MAX_LABELS: usize = 16;

section! {
    /// Section `kubernetes`.
    KubernetesLayer {
        /// Whether records name pods: true, false, or auto, which is true in a pod with a service
        /// account and where kubeconfig is given.
        text enabled: Option<Enabled> = default(Enabled::Auto),
        /// Name of the node whose pods are watched. Default: NODE_NAME of the environment, else the
        /// host's name.
        text node_name: Option<Name> = example("worker-1"),
        /// Kubeconfig file, for an agent outside of a pod.
        text kubeconfig: Option<PathBuf> = example("/etc/dnscribe/kubeconfig"),
        /// Labels of pods that are added to records: at most 16.
        items labels: Option<Vec<Label>> = example("[team, app.kubernetes.io/name]"),
        /// Time limit of a request to the API.
        text timeout: Option<PositiveSpan> = default(Duration::from_secs(10)),
    }
}

named_enum! {
    /// Whether pods are watched.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Enabled: "auto, true or false", "give one of" {
        /// Where they can be.
        Auto = "auto",
        /// Always.
        Yes = "true",
        /// Never.
        No = "false",
    }
}

value! {
    /// Key of a label: `team`, `app.kubernetes.io/name`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    Label(String): "the key of a label", "one such as app.kubernetes.io/name";
    |text| {
        let (prefix, name) = text.split_once('/').unwrap_or(("x", text));
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_legal = |part: &str, max_bytes: usize, more: &[u8]| {
            part.len() <= max_bytes
                && edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        (is_legal(prefix, 253, b"-.") && is_legal(name, 63, b"-._")).then(|| text.to_owned())
    }
}

/// Returns how the pods of this node are watched, if they are. `environment` shows whether this is a pod.
pub(super) fn resolve(
    layer: KubernetesLayer,
    environment: &[(OsString, OsString)],
    purpose: Purpose,
) -> Result<Option<KubernetesConfig>, ConfigError> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.to_string_lossy()).filter(|value| !value.is_empty())
    };
    let timeout = layer.timeout().0;
    let enabled = layer.enabled();
    let labels: Vec<String> =
        layer.labels.unwrap_or_default().into_iter().map(|Label(label)| label).collect();
    if labels.len() > MAX_LABELS {
        let given = labels.len();
        return wrong(&format!("{given} labels are too many: give {MAX_LABELS} at most"));
    }
    let is_pod = variable(SERVICE_HOST).is_some() && Path::new(TOKEN_PATH).exists();
    let is_on = match enabled {
        // A capture file may be from another node.
        _ if purpose == Purpose::Replay => false,
        Enabled::No => false,
        Enabled::Auto => is_pod || layer.kubeconfig.is_some(),
        Enabled::Yes if !is_pod && layer.kubeconfig.is_none() => {
            return wrong(&format!(
                "this is not a pod with a service account ({SERVICE_HOST} and {TOKEN_PATH}): give kubeconfig, \
                 or enabled: auto"
            ));
        }
        Enabled::Yes => true,
    };
    let named = layer.node_name.map(|Name(name)| name);
    let named = named.or_else(|| variable(NODE_NAME).map(Into::into));
    Ok(is_on.then(|| KubernetesConfig {
        // Default of kubelet. A node without pods is logged.
        node_name: named.unwrap_or_else(|| default_node(Purpose::Live).to_lowercase()),
        kubeconfig: layer.kubeconfig,
        labels,
        timeout,
    }))
}

fn wrong<T>(what: &str) -> Result<T, ConfigError> {
    ConfigError::in_section("kubernetes", what)
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
        let error = load("kubernetes: { enabled: true }", &[], Purpose::Live).unwrap_err();
        assert!(error.contains("give kubeconfig"), "{error}");
    }

    #[test]
    fn a_kubeconfig_switches_it_on() {
        let yaml =
            "kubernetes:\n  kubeconfig: /etc/kube\n  labels: [team, app.kubernetes.io/name]\n";
        let config = load(yaml, &[(NODE_NAME, "n-1")], Purpose::Live).unwrap().unwrap();
        assert_eq!((config.node_name.as_str(), config.timeout), ("n-1", Duration::from_secs(10)));
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
            let error = load(&yaml, &[], Purpose::Live).unwrap_err();
            assert!(error.contains(why) && error.contains("give"), "{error}");
        }
    }
}
