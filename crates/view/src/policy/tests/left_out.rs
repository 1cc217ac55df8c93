//! What no policy can allow, or nobody should: it is left out, and the comments say so.

use super::*;

/// Returns the comments on connections of each format.
fn said(uses: &Uses) -> [String; 3] {
    PolicyFormat::ALL.map(|format| {
        let text = suggested(uses, format);
        text.split_inclusive('\n').filter(|line| line.starts_with("# ")).collect()
    })
}

fn plain(name: &str, port: u16) -> Vec<u8> {
    line(name, "198.51.100.7", port, &json!({}))
}

/// Returns how many connections of a check are allowed, undecided and refused.
fn checked(uses: &Uses, policies: &str) -> (u64, u64, u64) {
    let verdict = check(uses, &read(policies));
    (verdict.allowed, verdict.undecided, verdict.refusals())
}

#[test]
fn port_zero_is_no_port_of_a_policy() {
    let all = uses(&[plain("a.example.com", 443), plain("a.example.com", 0)]);
    let ssh = uses(&[plain("a.example.com", 22)]);
    for (format, said) in PolicyFormat::ALL.into_iter().zip(said(&all)) {
        let comment = "# not allowed: 1 connection to 198.51.100.7 port 0/TCP; a.example.com; port 0 would be all ports\n";
        assert!(said.starts_with(comment), "{said}");
        let text = suggested(&all, format);
        assert_eq!(checked(&all, &text), (1, 0, 1), "{text}");
        assert_eq!(checked(&ssh, &text), (0, 0, 1), "{text}");
    }
    let zero = uses(&[plain("a.example.com", 0)]);
    for (kind, rest, expected) in [
        ("CiliumNetworkPolicy", "egress: [{ toPorts: [{ ports: [{ port: \"0\" }] }] }]", 1),
        ("NetworkPolicy", "egress: [{ ports: [{ protocol: TCP }] }]", 1),
        ("NetworkPolicy", "egress: [{ ports: [{ port: 1, endPort: 65535 }] }]", 0),
    ] {
        assert_eq!(checked(&zero, &policy(kind, rest)).0, expected, "{rest}");
    }
}

/// A single candidate is no name: answers were missed.
#[test]
fn only_sole_and_newest_names_are_known() {
    let either = |names: &[&str]| {
        line("", "198.51.100.7", 443, &json!({ "match": "ambiguous", "candidates": names }))
    };
    let lone = uses(&[either(&["a.example.com"]), either(&[])]);
    for said in said(&lone) {
        let expected = "# not allowed: 1 connection to 198.51.100.7 port 443/TCP; its name is not known\n\
             # not allowed: 1 connection to 198.51.100.7 port 443/TCP; a.example.com, or another name\n";
        assert_eq!(said, expected);
    }
    let newest =
        line("a.example.com", "198.51.100.7", 443, &json!({ "match": "newest", "count": 4 }));
    let policies = suggested(&uses(&[newest]), PolicyFormat::Cilium);
    let pair = uses(&[either(&["a.example.com"]), either(&["a.example.com", "b.example.com"])]);
    assert_eq!(checked(&pair, &policies), (0, 2, 0));
    let world = policy("CiliumNetworkPolicy", "egress: [{ toEntities: [world] }]");
    assert_eq!(checked(&pair, &world), (2, 0, 0));
    let strange = uses(&[either(&["c.example.com"])]);
    assert_eq!(checked(&strange, &policies), (0, 0, 1));
}

#[test]
fn masked_records_are_counted() {
    let mut uses = uses(&[plain("a.example.com", 443)]);
    for class in ["qname", "answers", "container"] {
        uses.line(&line("5300ff", "100::7", 443, &json!({ "masking": { (class): "hash" } })));
    }
    // Rows of ClickHouse have all classes; clients are not in a policy.
    let masking =
        json!({ "key_id": "k", "qname": "", "answers": "", "client": "hash", "container": "" });
    uses.line(&line("b.example.com", "198.51.100.7", 443, &json!({ "masking": masking })));
    assert_eq!((uses.masked, uses.records), (3, 5));
    let text = suggested(&uses, PolicyFormat::Kubernetes);
    assert!(text.contains("b.example.com") && !text.contains("100::"), "{text}");
}

#[test]
fn what_nobody_answered_is_not_reached() {
    let with = |name: &str, address: &str, protocol: &str, outcome: &str| {
        line(name, address, 443, &json!({ "protocol": protocol, "outcome": outcome }))
    };
    let all = uses(&[
        with("a.example.com", "198.51.100.7", "tcp", "reset"),
        with("a.example.com", "198.51.100.8", "tcp", "timeout"),
        with("b.example.com", "198.51.100.9", "tcp", "refused"),
        with("c.example.com", "198.51.100.9", "tcp", "unknown"),
        with("d.example.com", "198.51.100.9", "udp", "unknown"),
        with("e.example.com", "198.51.100.9", "udp", "refused"),
    ]);
    let comment = |name: &str, address: &str, protocol: &str| {
        format!(
            "# not allowed: 1 connection to {address} port 443/{protocol}; {name}.example.com; nobody answered\n"
        )
    };
    let of_tcp = ["b", "c"].map(|name| comment(name, "198.51.100.9", "TCP")).concat();
    let expected = of_tcp.clone() + &comment("e", "198.51.100.9", "UDP");
    let [cilium, cluster, kubernetes] = said(&all);
    assert_eq!([&cilium, &cluster], [&expected, &expected]);
    // By addresses, the second one of a.example.com is not allowed either, but that of d.example.com by UDP is.
    let more = comment("a", "198.51.100.8", "TCP") + &of_tcp + "# a.example.com was";
    assert!(kubernetes.starts_with(&more), "{kubernetes}");
    let text = suggested(&all, PolicyFormat::Cilium);
    assert_eq!(checked(&all, &text), (3, 0, 3));
}

#[test]
fn literal_addresses_that_a_policy_allows_are_not_denied() {
    let literal = |address| line("", address, 443, &json!({ "match": "none" }));
    let all =
        uses(&[plain("a.example.com", 443), literal("198.51.100.7"), literal("198.51.100.8")]);
    let not = |address| {
        format!("# not allowed: 1 connection to {address} port 443/TCP; no name was looked up\n")
    };
    let [cilium, cluster, kubernetes] = said(&all);
    let both = not("198.51.100.7") + &not("198.51.100.8");
    assert_eq!([cilium, cluster], [both.clone(), both]);
    assert!(kubernetes.starts_with(&not("198.51.100.8")), "{kubernetes}");
    assert_eq!(checked(&all, &suggested(&all, PolicyFormat::Kubernetes)), (2, 0, 1));
}

/// Cilium has selectors that no check evaluates.
#[test]
fn comments_need_no_selector_that_can_be_checked() {
    let all = uses(&[line("", "203.0.113.8", 443, &json!({ "match": "none" }))]);
    let selector = BTreeMap::from([("io.cilium.k8s.policy.serviceaccount".into(), "a".into())]);
    let text = suggest(&all, PolicyFormat::Cilium, Some(&selector)).unwrap().text;
    assert!(text.contains("# not allowed: 1 connection to 203.0.113.8 port 443/TCP"), "{text}");
}

/// Returns a use by a workload.
fn by(namespace: &str, kind: &str, name: &str, labels: &Value, port: u16) -> Vec<u8> {
    let pod = json!({
        "namespace": namespace, "pod": format!("{name}-1"), "workload_kind": kind, "workload": name,
        "labels": labels,
    });
    line(&format!("p{port}.example.com"), "198.51.100.7", port, &json!({ "k8s": pod }))
}

/// Two policies of one name would replace each other.
#[test]
fn policies_have_names_of_their_own() {
    let labels = json!({ "app": "web" });
    let use_of =
        |(namespace, kind, name): &(&str, &str, &str)| by(namespace, kind, name, &labels, 443);
    let long = "x".repeat(253);
    let owners = [
        ("a", "Deployment", "b-c"),
        ("a-b", "Deployment", "c"),
        ("shop", "Deployment", "web.1"),
        ("shop", "Deployment", "web-1"),
        ("shop", "Deployment", "web-2"),
        ("shop", "Job", "web-2"),
        ("shop", "Deployment", &*long),
    ];
    let mut lines: Vec<Vec<u8>> = owners.iter().map(use_of).collect();
    lines.extend((0..30).map(|port| by("shop", "Deployment", "web", &labels, 1_000 + port)));
    let all = uses(&lines);
    for format in PolicyFormat::ALL {
        let text = suggested(&all, format);
        let documents = dnscribe_config::yaml::documents(&text).unwrap();
        let name = |one: &Value| {
            let name = one["metadata"]["name"].as_str().unwrap().to_owned();
            let is_valid = name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .chars()
                        .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-')
            });
            assert!(is_valid && name.len() <= 253 && name.ends_with("-egress"), "{name}");
            (one["metadata"]["namespace"].clone(), name)
        };
        let names: BTreeSet<String> = documents
            .iter()
            .map(name)
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect();
        let parts = if format == PolicyFormat::Cluster { 2 } else { 1 };
        assert_eq!(documents.len(), owners.len() + parts, "{text}");
        assert_eq!(names.len(), documents.len(), "{names:?}");
    }
    // Nor do those of another run, with a part of the workloads.
    let one = |owner: &(&str, &str, &str)| {
        suggested(&uses(&[use_of(owner)]), PolicyFormat::Cluster)
            .lines()
            .find_map(|line| line.strip_prefix("  name: ").map(str::to_owned))
    };
    assert_eq!(one(&owners[0]).unwrap(), "a.b-c-egress");
    assert_eq!(one(&owners[1]).unwrap(), "a-b.c-egress");
}

#[test]
fn selectors_that_match_other_workloads_are_named() {
    let (front, both) = (json!({ "app": "front" }), json!({ "app": "front", "tier": "1" }));
    let mut all = uses(&[
        by("shop", "Deployment", "front", &front, 1),
        by("shop", "Job", "front", &both, 2),
        by("shop", "Deployment", "mixed", &front, 3),
        by("shop", "Deployment", "mixed", &json!({ "app": "back" , "tier": "2" }), 3),
        by("shop", "Deployment", "mixed", &json!({ "tier": "2" }), 3),
        by("other", "Deployment", "front", &front, 4),
    ]);
    let wanted = |name: &WorkloadName| name.name == "front" && name.namespace == "shop";
    all.choose(wanted);
    assert_eq!((all.workloads.len(), all.others.len()), (2, 2));
    let suggestion = suggest(&all, PolicyFormat::Cilium, None).unwrap();
    let expected = "the selector of shop/front (Deployment) also selects pods of shop/front (Job), shop/mixed (Deployment)";
    assert_eq!(suggestion.warnings, [expected]);
    let text = suggestion.text;
    assert!(text.starts_with(&format!("---\n# {expected}\n")), "{text}");
    // Each kind has what it has used itself.
    let [first, second] = text.split("---\n").skip(1).collect::<Vec<_>>().try_into().unwrap();
    assert!(first.contains("p1.example.com") && !first.contains("p2.example.com"), "{text}");
    assert!(second.contains("p2.example.com") && !second.contains("p1.example.com"), "{text}");
    let selector = BTreeMap::from([("tier".to_owned(), "2".to_owned())]);
    all.choose(|name| name.name == "mixed");
    let warnings = suggest(&all, PolicyFormat::Cilium, Some(&selector)).unwrap().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn names_of_the_cluster_are_read_from_the_right() {
    for (name, expected) in [
        ("db.prod.svc.cluster.local", Some(("prod", Some("db")))),
        ("db-0.db.prod.svc.cluster.local", Some(("prod", Some("db")))),
        ("svc.shop.svc.cluster.local", Some(("shop", Some("svc")))),
        ("db.svc.svc.cluster.local", Some(("svc", Some("db")))),
        ("10-0-0-9.shop.pod.cluster.local", Some(("shop", None))),
        ("a.b.svc.cluster.example.com", None),
        ("shop.svc.cluster.local", None),
        ("cluster.local", None),
    ] {
        assert_eq!(cluster_name(name), expected, "{name}");
    }
    let all = uses(&[plain("10-0-0-9.shop.pod.cluster.local", 443)]);
    for said in said(&all) {
        let why = "10-0-0-9.shop.pod.cluster.local is no name that such a policy may have";
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn services_are_said_to_be_allowed_at_all_ports() {
    let all = uses(&[plain("db.prod.svc.cluster.local", 5432)]);
    let [cilium, others @ ..] = said(&all);
    assert_eq!(cilium, "# service db in prod: all its ports are allowed\n");
    let pods = "# service db in prod: every pod of that namespace is allowed, at all ports\n";
    assert_eq!(others, [pods, pods]);
}

#[test]
fn no_record_spoils_a_policy() {
    let huge = json!({ "count": 1_u64 << 63 });
    let evil = "a.example\n  evil: true\u{2028}b: c";
    let literal = json!({ "count": 1_u64 << 63, "match": "none" });
    let mut lines = vec![line("a.example.com", "198.51.100.7", 443, &huge); 3];
    lines.extend(vec![line("", "203.0.113.8", 1, &literal); 2]);
    lines.extend([plain(evil, 443), line("", "203.0.113.9", 2, &literal)]);
    let all = uses(&lines);
    let [text, ..] = PolicyFormat::ALL.map(|format| {
        let text = suggested(&all, format);
        assert!(!text.contains("\n  evil") && !text.contains('\u{2028}'), "{text}");
        assert_eq!(read(&text).len(), 1);
        text
    });
    assert!(text.contains("a.example\\x0a  evil"), "{text}");
    let verdict = check(&all, &read(&text));
    assert_eq!([verdict.connections, verdict.allowed, verdict.refusals()], [u64::MAX; 3]);
}

/// What a server of the API refuses has no meaning that could be checked.
#[test]
fn incomplete_policies_are_refused() {
    let error = |text: &str| {
        let documents = dnscribe_config::yaml::documents(text).unwrap();
        Policy::read(&documents[0]).map(|_| ()).unwrap_err().to_string()
    };
    for (text, expected) in [
        ("kind: NetworkPolicy\nmetadata: { name: p }\nspec: {}\n", "p has no metadata.namespace"),
        (
            "kind: CiliumNetworkPolicy\nmetadata: { name: p }\nspec: {}\n",
            "p has no metadata.namespace",
        ),
        ("kind: CiliumNetworkPolicy\nmetadata: { name: p, namespace: n }\n", "n/p has no spec"),
        (
            "kind: CiliumNetworkPolicy\nmetadata: { name: p, namespace: n }\nspecs: {}\n",
            "specs that is no list of n/p is not evaluated",
        ),
        (
            "kind: CiliumNetworkPolicy\nmetadata: { name: p, namespace: n }\nspec: { egress: [] }\n",
            "n/p has no endpointSelector",
        ),
        ("kind: ClusterNetworkPolicy\nmetadata: { name: p }\n", "p has no spec"),
        (
            "kind: ClusterNetworkPolicy\nmetadata: { name: p }\nspec: { subject: {} }\n",
            "subject {} of p is not evaluated",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    for (kind, rest, what) in [
        ("NetworkPolicy", "policyTypes: Egress", "policyTypes that is no list"),
        ("NetworkPolicy", "policyTypes: [egress]", "policyTypes \"egress\""),
        ("NetworkPolicy", "egress: {}", "egress that is no list"),
        ("NetworkPolicy", "egress: [a]", "value \"a\""),
        ("NetworkPolicy", "egress: [{ to: {} }]", "to that is no list"),
        ("NetworkPolicy", "egress: [{ to: [{}] }]", "to without a peer"),
        ("NetworkPolicy", "egress: [{ ports: [{ port: 0 }] }]", "port \"0\""),
        ("NetworkPolicy", "egress: [{ ports: [{ endPort: 9 }] }]", "port \"\""),
        ("NetworkPolicy", "egress: [{ ports: [{ port: 9, endPort: 8 }] }]", "port range 9 to 8"),
        ("NetworkPolicy", "egress: [{ ports: [{ protocol: TPC }] }]", "protocol \"TPC\""),
        (
            "NetworkPolicy",
            "egress: [{ to: [{ podSelector: { matchLabels: [a] } }] }]",
            "value [\"a\"]",
        ),
        ("CiliumNetworkPolicy", "egress: { toEntities: [all] }", "egress that is no list"),
        ("CiliumNetworkPolicy", "egress: [all]", "value \"all\""),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toFQDNs: { matchName: a.b } }]",
            "toFQDNs that is no list",
        ),
        ("CiliumNetworkPolicy", "egress: [{ toFQDNs: [{}] }]", "toFQDNs {}"),
        ("CiliumNetworkPolicy", "egress: [{ toFQDNs: [{ matchName: [a.b] }] }]", "value [\"a.b\"]"),
        ("CiliumNetworkPolicy", "enableDefaultDeny: true", "value \"true\""),
        ("CiliumNetworkPolicy", "enableDefaultDeny: { egress: nope }", "enableDefaultDeny nope"),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Accept, to: [{ domainNames: a.b }] }]",
            "domainNames that is no list",
        ),
        ("ClusterNetworkPolicy", "egress: [{ action: Accept, to: [{}] }]", "to without a peer"),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Accept, to: [{ networks: [0.0.0.0/0] }], protocols: [{ tcp: { destinationPort: { number: 0 } } }] }]",
            "port \"0\"",
        ),
    ] {
        let expected = format!("{what} of shop/p is not evaluated");
        assert_eq!(error(&policy(kind, rest)), expected, "{kind} {rest}");
    }
    let to = policy("ClusterNetworkPolicy", "egress: [{ action: Accept }]");
    assert_eq!(error(&to), "shop/p has no to");
    let service = policy("CiliumNetworkPolicy", "egress: [{ toServices: [{ k8sService: {} }] }]");
    assert_eq!(error(&service), "shop/p has no serviceName");
    let of = |namespace: &str| {
        format!(
            "kind: CiliumNetworkPolicy\nmetadata: {{ name: p, namespace: shop }}\nspec: {{ endpointSelector: {{ matchLabels: \
             {{ \"k8s:io.kubernetes.pod.namespace\": {namespace} }} }}, egress: [{{ toEntities: [world] }}] }}\n"
        )
    };
    let refused =
        "label io.kubernetes.pod.namespace in endpointSelector of shop/p is not evaluated";
    assert_eq!(error(&of("other")), refused);
    assert_eq!(checked(&uses(&[plain("a.example.com", 443)]), &of("shop")), (1, 0, 0));
}
