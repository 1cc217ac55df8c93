//! The programs that have packages of their own.

/// A program with packages of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Name of the program, its packages and its crate.
    pub name: &'static str,
    /// Folder of the crate, whose manifest lists the files of the packages.
    pub folder: &'static str,
    /// Folder with the files as they are installed on a host, below `target`; the manifest names it.
    pub stage: &'static str,
    /// Manifests of what is linked, each with the package in it.
    pub manifests: &'static [(&'static str, &'static str)],
    /// Files that are copied from the repository: source, destination.
    pub copied: &'static [(&'static str, &'static str)],
    /// User of the program in the image: id, name.
    pub user: (u32, &'static str),
    /// Arguments of the program in the image.
    pub arguments: &'static [&'static str],
}

/// The agent.
pub const AGENT: Program = Program {
    name: "dnscribe",
    folder: "crates/dnscribe",
    stage: "stage",
    manifests: &[("Cargo.toml", "dnscribe"), ("agent-ebpf/Cargo.toml", "dnscribe-ebpf")],
    copied: &[
        ("deploy/dnscribe.yaml", "etc/dnscribe/dnscribe.yaml"),
        ("deploy/systemd/dnscribe.service", "usr/lib/systemd/system/dnscribe.service"),
        ("deploy/systemd/dnscribe.sysusers", "usr/lib/sysusers.d/dnscribe.conf"),
        ("deploy/systemd/containers.conf", "usr/share/doc/dnscribe/containers.conf"),
        ("README.md", "usr/share/doc/dnscribe/README.md"),
        ("CHANGELOG.md", "usr/share/doc/dnscribe/CHANGELOG.md"),
        ("docs/config.md", "usr/share/doc/dnscribe/config.md"),
        ("examples/slow-curl.pcapng", "usr/share/dnscribe/examples/slow-curl.pcapng"),
        ("examples/nxdomain-storm.pcapng", "usr/share/dnscribe/examples/nxdomain-storm.pcapng"),
        ("examples/dying-resolver.pcapng", "usr/share/dnscribe/examples/dying-resolver.pcapng"),
        ("examples/tunnel.pcapng", "usr/share/dnscribe/examples/tunnel.pcapng"),
        ("examples/laptop.yaml", "usr/share/dnscribe/examples/laptop.yaml"),
        ("examples/busy-resolver.yaml", "usr/share/dnscribe/examples/busy-resolver.yaml"),
        ("examples/fleet.yaml", "usr/share/dnscribe/examples/fleet.yaml"),
        ("LICENSE-APACHE", "usr/share/doc/dnscribe/LICENSE-APACHE"),
        ("LICENSE-MIT", "usr/share/doc/dnscribe/LICENSE-MIT"),
    ],
    // In a container only root gets the added capabilities.
    user: (0, "root"),
    arguments: &["run"],
};

/// The probe.
pub const PROBE: Program = Program {
    name: "dnscribe-probe",
    folder: "probe",
    stage: "stage-probe",
    manifests: &[("Cargo.toml", "dnscribe-probe")],
    copied: &[
        ("deploy/probes.yaml", "etc/dnscribe-probe/probes.yaml"),
        ("deploy/systemd/dnscribe-probe.service", "usr/lib/systemd/system/dnscribe-probe.service"),
        ("docs/probe.md", "usr/share/doc/dnscribe-probe/README.md"),
        ("CHANGELOG.md", "usr/share/doc/dnscribe-probe/CHANGELOG.md"),
        ("docs/probe-config.md", "usr/share/doc/dnscribe-probe/config.md"),
        ("LICENSE-APACHE", "usr/share/doc/dnscribe-probe/LICENSE-APACHE"),
        ("LICENSE-MIT", "usr/share/doc/dnscribe-probe/LICENSE-MIT"),
    ],
    user: (65_532, "nonroot"),
    arguments: &["run", "--config", "/etc/dnscribe-probe/probes.yaml"],
};

/// The KPIs.
pub const KPI: Program = Program {
    name: "dnscribe-kpi",
    folder: "kpi",
    stage: "stage-kpi",
    manifests: &[("Cargo.toml", "dnscribe-kpi")],
    copied: &[
        ("deploy/kpi/environment", "etc/dnscribe-kpi/environment"),
        ("deploy/kpi/import.sh", "usr/lib/dnscribe-kpi/import"),
        ("deploy/systemd/dnscribe-kpi.service", "usr/lib/systemd/system/dnscribe-kpi.service"),
        (
            "deploy/systemd/dnscribe-kpi-import.service",
            "usr/lib/systemd/system/dnscribe-kpi-import.service",
        ),
        (
            "deploy/systemd/dnscribe-kpi-import.timer",
            "usr/lib/systemd/system/dnscribe-kpi-import.timer",
        ),
        ("docs/kpi.md", "usr/share/doc/dnscribe-kpi/README.md"),
        ("docs/kpis.md", "usr/share/doc/dnscribe-kpi/kpis.md"),
        ("CHANGELOG.md", "usr/share/doc/dnscribe-kpi/CHANGELOG.md"),
        ("LICENSE-APACHE", "usr/share/doc/dnscribe-kpi/LICENSE-APACHE"),
        ("LICENSE-MIT", "usr/share/doc/dnscribe-kpi/LICENSE-MIT"),
    ],
    user: (65_532, "nonroot"),
    arguments: &[
        "serve",
        "--listen",
        "0.0.0.0:9356",
        "--behind-proxy",
        "--tokens",
        "/etc/dnscribe-kpi/tokens.yaml",
    ],
};

/// All programs.
pub const ALL: [&Program; 3] = [&AGENT, &PROBE, &KPI];

/// Returns the program with this name.
///
/// # Errors
/// If there is none.
pub fn named(name: &str) -> Result<&'static Program, String> {
    let all = ALL.map(|it| it.name).join(", ");
    ALL.into_iter().find(|it| it.name == name).ok_or_else(|| format!("one of {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A unit whose last failure ends it for good would not be there when what was missing has come.
    #[test]
    fn units_of_servers_are_retried_and_may_open_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut servers = Vec::new();
        for (source, _) in ALL.iter().flat_map(|program| program.copied) {
            if !source.ends_with(".service") {
                continue;
            }
            let unit = std::fs::read_to_string(root.join(source)).unwrap();
            let has = |line: &str| unit.lines().any(|own| own == line);
            assert!(has("LimitNOFILE=524288"), "{source}: the default may be 4096");
            let online = ["Wants", "After"].map(|key| format!("{key}=network-online.target"));
            assert!(online.iter().all(|line| has(line)), "{source}: no network at its start");
            if has("Type=notify") {
                assert!(has("Restart=on-failure") && has("StartLimitIntervalSec=0"), "{source}");
                assert!(!unit.contains("StartLimitBurst"), "{source}");
                assert!(unit.contains("\nRestartPreventExitStatus=2"), "{source}");
                servers.push(*source);
            }
        }
        assert_eq!(
            servers,
            ["dnscribe", "dnscribe-probe"].map(|name| format!("deploy/systemd/{name}.service"))
        );
    }
}
