//! Runs the agent's pod as a kubelet does: its security context in a real container (crun), its environment and its mounts, with the
//! agent's program in place of an image.

use crate::container::Bundle;
use crate::{environment, manifests};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Paths of /proc and /sys that a kubelet masks or makes read-only (CRI's defaults).
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Path of the image's entry point.
const ENTRY: &str = "/dnscribe";

/// What a kubelet knows besides the pod.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Path of the container's cgroup, as the cgroupfs driver makes it.
    pub cgroup: &'a str,
    /// Volumes by the start of their names, with the folders that they are.
    pub volumes: &'a [(&'a str, &'a Path)],
    /// Further variables of the environment: `NAME=VALUE`.
    pub variables: &'a [String],
}

/// Creates the first container of a pod from the pod's specification, below `folder`.
pub fn container(folder: &Path, spec: &Value, setting: Setting<'_>) -> Result<Bundle> {
    root(folder, spec)?;
    let container = &spec["containers"][0];
    let context = &container["securityContext"];
    let added = context["capabilities"]["add"].as_array().context("no capabilities")?;
    let capabilities: Vec<String> =
        added.iter().filter_map(Value::as_str).map(|name| format!("CAP_{name}")).collect();
    let words = container["args"].as_array().context("no arguments")?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let mut bundle = Bundle::new(folder, setting.cgroup, &[&[ENTRY], &words[..]].concat());
    let process = &mut bundle.config["process"];
    process["capabilities"] =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    process["noNewPrivileges"] = (context["allowPrivilegeEscalation"] == false).into();
    process["user"] = json!({ "uid": context["runAsUser"], "gid": context["runAsGroup"] });
    let mut variables = vec!["PATH=/usr/bin:/bin".to_owned()];
    for variable in container["env"].as_array().context("no environment")? {
        let name = variable["name"].as_str().context("a variable without a name")?;
        // Others than the node's name have a value.
        let value = variable["value"].as_str().unwrap_or(setting.node);
        variables.push(format!("{name}={}", value.replace("$(NODE_NAME)", setting.node)));
    }
    variables.extend_from_slice(setting.variables);
    process["env"] = json!(variables);
    bundle.config["root"]["readonly"] = context["readOnlyRootFilesystem"].clone();
    bundle.config["linux"]["seccomp"] = seccomp(&capabilities)?;
    bundle.config["linux"]["maskedPaths"] = json!(MASKED);
    bundle.config["linux"]["readonlyPaths"] = json!(READ_ONLY);
    if context["privileged"] != false {
        bail!("a privileged container: {context}");
    }
    if spec["hostPID"] == true {
        bundle.use_host_namespace("pid");
    }
    for mount in container["volumeMounts"].as_array().context("no mounts")? {
        let name = mount["name"].as_str().context("a mount without a name")?;
        let source = setting.volumes.iter().find(|(start, _)| name.starts_with(start));
        let (_, source) = source.with_context(|| format!("no folder for the volume {name}"))?;
        let path = mount["mountPath"].as_str().context("a mount without a path")?;
        bundle.bind(source, path, mount["readOnly"] == true);
    }
    // In place of the image.
    bundle.bind(Path::new("/usr"), "/usr", true);
    bundle.bind(&environment::binary()?, ENTRY, true);
    Ok(bundle)
}

/// Creates a root file system for the libraries that this host's binary needs, and the places of the mounts.
fn root(folder: &Path, spec: &Value) -> Result<()> {
    let root = folder.join("rootfs");
    let mounts = spec["containers"][0]["volumeMounts"].as_array().context("no mounts")?;
    let paths = mounts.iter().filter_map(|mount| mount["mountPath"].as_str());
    for path in ["usr", "proc", "sys", "dev", "kube"].into_iter().chain(paths) {
        fs::create_dir_all(root.join(path.trim_start_matches('/')))?;
    }
    for link in ["lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    fs::create_dir_all(root.join("etc"))?;
    // As in the image.
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/sbin/nologin\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    Ok(fs::write(root.join("dnscribe"), "")?)
}

/// Returns the seccomp profile of `RuntimeDefault` for a container with these capabilities on this
/// machine.
fn seccomp(capabilities: &[String]) -> Result<Value> {
    let profile = manifests::runtime_default()?;
    let has = |names: &Value| {
        names.as_array().is_none_or(|names| {
            names.iter().all(|name| capabilities.iter().any(|other| *name == **other))
        })
    };
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let runs_here = |arches: &Value| {
        arches.as_array().is_none_or(|arches| arches.iter().any(|arch| *arch == here))
    };
    let applies = |rule: &&Value| {
        let (only, never) = (&rule["includes"], &rule["excludes"]);
        let excluded =
            |list: &Value, holds: &dyn Fn(&Value) -> bool| list.is_array() && holds(list);
        has(&only["caps"])
            && runs_here(&only["arches"])
            && !excluded(&never["caps"], &has)
            && !excluded(&never["arches"], &runs_here)
    };
    let rules = profile["syscalls"].as_array().context("a profile without rules")?;
    let rules = rules.iter().filter(applies).map(|rule| {
        let names = ["names", "action", "args", "errnoRet"];
        let known = names.into_iter().filter(|name| !rule[*name].is_null());
        known.map(|name| (name.to_owned(), rule[name].clone())).collect()
    });
    let rules: Vec<serde_json::Map<String, Value>> = rules.collect();
    Ok(json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "syscalls": rules,
    }))
}
