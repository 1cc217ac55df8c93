//! What each command and each tier of tests needs: the one table, and what its words stand for.

use super::packages::{self, Need, has, is_debian, need, venv};
use super::{KEYRING, ebpf};
use anyhow::Result;
use dnscribe_tests::stack::{clickhouse, flink, influxdb, jobs, timescaledb};
use dnscribe_tests::{
    archive, browser, cluster, confluent, dnsproxy, dnstap, ecs, geo, grafana, kafka, manifests,
    otel, registry, site, sketches,
};
use std::path::Path;

use Toolset::{
    Archive, Arrow, Book, Broker, Browser, Build, ClickHouse, Containers, ControlPlane, Debugger,
    Dnsproxy, Dnstap, Ecs, Flink, Geo, Grafana, InfluxDb, Kcat, Kubernetes, Lab, Monitoring,
    Openssl, Otlp, Python, Registry, Resolvers, Servers, Signing, Sketches, Terminal, TimescaleDb,
    Trace, Tshark,
};

/// Programs that are needed together: packages of the distribution, and downloads below the target folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toolset {
    /// Compilers, libraries and the toolchain of the eBPF programs.
    Build,
    /// Network namespaces, unbound, knot and clients.
    Lab,
    /// tmux.
    Terminal,
    /// tshark.
    Tshark,
    /// openssl's program.
    Openssl,
    /// minisign, which signs releases.
    Signing,
    /// Servers with faults, and the programs that the probe is compared with.
    Servers,
    /// A DNS server over QUIC.
    Dnsproxy,
    /// A receiver of dnstap, and servers that send it.
    Dnstap,
    /// bpftool, curl, setpriv: what looks at a running agent, or is traced by it.
    Trace,
    /// gdb.
    Debugger,
    /// Stub resolvers of other kinds: musl, Go.
    Resolvers,
    /// crun with busybox.
    Containers,
    /// Helm and the schemas of Kubernetes, Flink's operator and compose files.
    Kubernetes,
    /// API server, controllers and scheduler of Kubernetes, kubectl, and the Prometheus operator.
    ControlPlane,
    /// Prometheus and Alertmanager.
    Monitoring,
    /// Receivers of OTLP: a collector and Prometheus 3.
    Otlp,
    /// Headless Chromium and its driver.
    Browser,
    /// mdBook, which makes the site.
    Book,
    /// Compiler and packages of the dashboards' generator.
    Grafana,
    /// Elastic's definition of the Elastic Common Schema.
    Ecs,
    /// Readers of sketches.
    Sketches,
    /// A Kafka broker.
    Broker,
    /// An independent client of Kafka.
    Kcat,
    /// A schema registry and a client of it.
    Registry,
    /// Python with virtual environments.
    Python,
    /// Flink, and the jobs' jar.
    Flink,
    TimescaleDb,
    InfluxDb,
    ClickHouse,
    /// An S3-compatible server.
    Archive,
    /// A reader of Parquet.
    Arrow,
    /// Databases of places and networks.
    Geo,
}

/// What each command and each tier of tests needs. A tier's name is that of the command that runs it alone.
const NEEDS: &[(&str, &[Toolset])] = &[
    ("build", &[Build]),
    ("lab up", &[Lab]),
    ("demo", &[Build, Lab]),
    ("kafka up", &[Broker]),
    ("pictures", &[Build, Lab, Terminal]),
    ("site", &[Book]),
    ("stack up --demo", &[Build, Lab]),
    ("test unit", &[Build, Openssl, Signing]),
    ("test conformance", &[Build, Lab, Terminal, Tshark, Browser, Book, Sketches, Ecs]),
    ("test kernel", &[Build, Lab, Trace]),
    ("test probe", &[Build, Lab, Openssl, Servers, Dnsproxy]),
    (
        "test e2e",
        &[
            Build, Lab, Openssl, Terminal, Tshark, Dnstap, Trace, Debugger, Resolvers, Containers,
            Kubernetes, Monitoring, Otlp,
        ],
    ),
    ("test kafka", &[Build, Lab, Openssl, Broker, Kcat, Registry]),
    (
        "test stream",
        &[
            Build,
            Lab,
            Openssl,
            Broker,
            Kcat,
            Sketches,
            Monitoring,
            Flink,
            TimescaleDb,
            InfluxDb,
            ClickHouse,
            Archive,
            Arrow,
            Geo,
        ],
    ),
    (
        "test dashboards",
        &[Build, Broker, Monitoring, Grafana, Flink, TimescaleDb, InfluxDb, ClickHouse],
    ),
    ("test kpi", &[Build, Broker, Kcat, Monitoring, Browser, Python, ClickHouse, Archive]),
    // Its tests are among those of the tiers `conformance`, `probe` and `dashboards`.
    ("bless", &[Build, Lab, Openssl, Servers, Dnsproxy, Grafana]),
    ("test cluster", &[Build, Lab, Containers, Kubernetes, ControlPlane]),
    ("test fuzz", &[Build]),
    ("bench detect", &[Build]),
    ("bench pipeline", &[Build, Tshark]),
    ("bench dnstap", &[Build, Dnstap]),
    ("bench windows", &[Build]),
    ("bench scale", &[Build]),
    ("bench memory", &[Build, Lab]),
    ("bench probe", &[Build, Lab, Monitoring]),
    (
        "bench stream",
        &[Build, Broker, Flink, TimescaleDb, InfluxDb, ClickHouse, Arrow, Archive, Geo],
    ),
    ("bench kpi", &[Build, Python, ClickHouse]),
    ("bench kafka", &[Build, Broker, Kcat]),
    ("bench kernel", &[Build, Lab]),
    ("bench latency", &[Build, Lab, Tshark]),
    ("bench e2e", &[Build, Lab, Broker]),
    ("bench pressure", &[Build, Lab]),
    ("bench threads", &[Build, Lab]),
    // Components of the stack, by their names.
    ("stack up --with kafka", &[Broker]),
    ("stack up --with flink", &[Flink]),
    ("stack up --with timescaledb", &[TimescaleDb]),
    ("stack up --with influxdb", &[InfluxDb]),
    ("stack up --with clickhouse", &[ClickHouse]),
    ("stack up --with alertmanager", &[Monitoring]),
    ("stack up --with prometheus", &[Monitoring]),
];

/// Returns what commands need, each toolset once; `None` if the table has no row for one of them.
pub fn needs(commands: &[&str]) -> Option<Vec<Toolset>> {
    let row = |command: &&str| NEEDS.iter().find(|(name, _)| name == command);
    let rows: Option<Vec<_>> = commands.iter().map(row).collect();
    let mut toolsets: Vec<Toolset> =
        rows?.iter().flat_map(|(_, needs)| needs.iter().copied()).collect();
    toolsets.sort_unstable();
    toolsets.dedup();
    Some(toolsets)
}

impl Toolset {
    /// Packages of the distribution.
    pub const fn packages(self) -> &'static [Need] {
        match self {
            Build => packages::BUILD,
            Lab => LAB,
            Terminal => &[TMUX],
            Tshark => &[TSHARK],
            Openssl => &[OPENSSL],
            Signing => packages::RELEASE,
            Servers => SERVERS,
            Dnstap => DNSTAP,
            Trace => TRACE,
            Debugger => &[GDB],
            Resolvers => RESOLVERS,
            Containers => CONTAINERS,
            Kubernetes => KUBERNETES,
            // On Debian these do not come from packages of this host.
            Monitoring => packages::MONITORING,
            Browser => BROWSER,
            Book => &[],
            Grafana | Ecs => &[NPM],
            Sketches | Python | ClickHouse | Arrow | Geo => &[PYTHON],
            Broker => &[JAVA, MAVEN],
            Kcat => &[KCAT],
            Registry => REGISTRY,
            Flink => FLINK,
            TimescaleDb => TIMESCALEDB,
            Dnsproxy | InfluxDb | Archive | Otlp | ControlPlane => &[GO],
        }
    }

    /// Returns the packages that are missing.
    pub fn missing(self) -> Vec<&'static Need> {
        if self == Monitoring && is_debian() {
            return Vec::new();
        }
        let mut missing = packages::missing(self.packages());
        if self == Build && !is_debian() {
            // One list for the user; on Debian these do not all come from packages.
            missing.extend(packages::missing(ebpf::LINKER));
        }
        missing
    }

    /// Downloads and builds what does not come from packages, once. The tests run as root and only use these files.
    pub fn prepare(self) -> Result<()> {
        match self {
            Kubernetes => manifests::prepare(),
            ControlPlane => cluster::prepare(),
            Monitoring => packages::monitoring(),
            Otlp => otel::prepare(),
            Browser => browser::prepare(),
            Book => site::prepare(),
            Grafana => grafana::prepare(),
            Ecs => ecs::prepare(),
            Sketches => sketches::prepare(),
            Broker => kafka::prepare(),
            Registry => registry::prepare().and_then(|()| confluent::prepare()),
            Flink => {
                flink::prepare()?;
                jobs::build().map(drop)
            }
            TimescaleDb => timescaledb::prepare().map(drop),
            InfluxDb => influxdb::prepare().map(drop),
            ClickHouse => clickhouse::prepare().map(drop),
            Archive => archive::server().map(drop),
            Dnsproxy => dnsproxy::prepare().map(drop),
            Dnstap => dnstap::coredns().and_then(|_| dnstap::reader()).map(drop),
            Arrow => archive::prepare().map(drop),
            Geo => geo::prepare().map(drop),
            Build | Lab | Terminal | Tshark | Openssl | Signing | Servers | Trace | Debugger
            | Resolvers | Containers | Kcat | Python => Ok(()),
        }
    }
}

const TMUX: Need = need(|| has("tmux"), "tmux", "tmux", "tmux");
const TSHARK: Need = need(|| has("tshark"), "tshark", "wireshark-cli", "wireshark-cli");
const OPENSSL: Need = need(|| has("openssl"), "openssl", "openssl", "openssl");
const GDB: Need = need(|| has("gdb"), "gdb", "gdb", "gdb");
const KCAT: Need = need(|| has("kcat"), "kcat", "kcat", "kcat");
const JAVA: Need =
    need(|| has("java"), "default-jre-headless", "java-21-openjdk-headless", "jre-openjdk");
const PYTHON: Need = need(venv, "python3-venv", "python3", "python");
const NPM: Need = need(|| has("npm"), "nodejs npm", "nodejs-npm", "npm");
const GO: Need = need(|| has("go"), "golang", "golang", "go");
const SETPRIV: Need = need(|| has("setpriv"), "util-linux", "util-linux", "util-linux");
const CURL: Need = need(|| has("curl"), "curl", "curl", "curl");
const MAVEN: Need = need(|| has("mvn"), "maven", "maven", "maven");

const LAB: &[Need] = &[
    need(|| has("ip"), "iproute2", "iproute", "iproute2"),
    need(|| has("nft"), "nftables", "nftables", "nftables"),
    need(|| has("dig"), "bind9-dnsutils", "bind-utils", "bind"),
    need(|| has("dnsperf"), "dnsperf", "dnsperf", "dnsperf"),
    need(|| has("unbound"), "unbound", "unbound", "unbound"),
    need(|| has("knotd"), "knot", "knot", "knot"),
    need(|| has("kdig"), "knot-dnsutils", "knot-utils", "knot"),
];

const NAMED: Need = need(|| has("named"), "bind9", "bind", "bind");

const DNSTAP: &[Need] = &[
    need(|| has("fstrm_capture"), "fstrm-bin", "fstrm-utils", "fstrm"),
    need(|| has("unbound"), "unbound", "unbound", "unbound"),
    NAMED,
    need(|| has("dnsperf"), "dnsperf", "dnsperf", "dnsperf"),
    need(knot_module, "knot knot-module-dnstap", "knot", "knot"),
    SETPRIV,
    GO,
];

const SERVERS: &[Need] = &[
    NAMED,
    need(|| has("delv"), "bind9-dnsutils", "bind-utils", "bind"),
    need(|| has("dnssec-signzone"), "bind9-utils", "bind-dnssec-utils", "bind"),
    need(|| has("nginx"), "nginx", "nginx", "nginx"),
    need(|| has("aiosmtpd"), "python3-aiosmtpd", "python3-aiosmtpd", "python-aiosmtpd"),
    CURL,
];

const TRACE: &[Need] = &[need(|| has("bpftool"), "bpftool", "bpftool", "bpf"), SETPRIV, CURL];

const RESOLVERS: &[Need] = &[need(|| has("musl-gcc"), "musl-tools", "musl-gcc", "musl"), GO];

const CONTAINERS: &[Need] = &[
    need(|| has("crun"), "crun", "crun", "crun"),
    need(|| has("busybox"), "busybox-static", "busybox", "busybox"),
];

const KUBERNETES: &[Need] = &[
    GO, PYTHON, // One class of Flink's operator is from Maven Central.
    JAVA, MAVEN,
];

const BROWSER: &[Need] = &[
    need(
        || browser::chromium().is_some(),
        "chromium-headless-shell",
        "chromium-headless",
        "chromium",
    ),
    NPM,
];

const REGISTRY: &[Need] = &[JAVA, MAVEN, PYTHON, SETPRIV];

const FLINK: &[Need] =
    &[need(|| has("javac"), "default-jdk-headless", "java-21-openjdk-devel", "jdk-openjdk"), MAVEN];

const TIMESCALEDB: &[Need] = &[
    need(|| has("mmdebstrap"), "mmdebstrap", "mmdebstrap", "mmdebstrap"),
    need(
        || Path::new(KEYRING).exists(),
        "debian-archive-keyring",
        "debian-keyring",
        "debian-archive-keyring",
    ),
];

/// Whether knot sends dnstap. Other distributions build this in.
fn knot_module() -> bool {
    has("knotd") && (!is_debian() || Path::new("/usr/share/doc/knot-module-dnstap").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_needs_java_and_its_own_files_only() {
        assert_eq!(needs(&["kafka up"]).unwrap(), [Broker]);
        let packages: Vec<&str> = Broker.packages().iter().map(|need| need.debian).collect();
        assert_eq!(packages, ["default-jre-headless", "maven"]);
        assert_eq!(needs(&["lab up"]).unwrap(), [Lab]);
        assert_eq!(needs(&["kafka down"]), None);
    }

    #[test]
    fn several_commands_need_each_toolset_once() {
        let both = needs(&["test kafka", "test unit"]).unwrap();
        assert_eq!(both, [Build, Lab, Openssl, Signing, Broker, Kcat, Registry]);
    }
}
