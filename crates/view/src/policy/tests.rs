use super::*;
use serde_json::{Value, json};

mod left_out;

fn line(name: &str, address: &str, port: u16, more: &Value) -> Vec<u8> {
    let mut record = json!({
        "schema": SCHEMA, "protocol": "tcp", "address": address, "port": port, "match": "sole",
        "name": name, "outcome": "established", "count": 1,
        "k8s": {
            "namespace": "shop", "pod": "web-7d9-x", "container": "web", "workload_kind": "Deployment",
            "workload": "web", "labels": { "app": "web", "pod-template-hash": "7d9", "zone": "a" },
        },
    });
    for (key, value) in more.as_object().unwrap() {
        record[key] = value.clone();
    }
    record.to_string().into_bytes()
}

fn uses(lines: &[Vec<u8>]) -> Uses {
    let mut uses = Uses::default();
    for line in lines {
        uses.line(line);
    }
    uses
}

fn suggested(uses: &Uses, format: PolicyFormat) -> String {
    suggest(uses, format, None).unwrap().text
}

/// What a workload does: names at one or two ports, one of them with two addresses, services, a literal, an ambiguous name.
fn example() -> Uses {
    let plain = json!({});
    let mut other_pod =
        json!({ "k8s": { "namespace": "shop", "pod": "web-7d9-y", "workload": "web" } });
    other_pod["k8s"]["workload_kind"] = json!("Deployment");
    other_pod["k8s"]["labels"] = json!({ "app": "web", "zone": "b" });
    uses(&[
        line("api.example.com", "198.51.100.7", 443, &plain),
        line("api.example.com", "198.51.100.8", 443, &other_pod),
        line("cdn.example.com", "198.51.100.9", 443, &plain),
        line("cdn.example.com", "198.51.100.9", 80, &plain),
        line("quic.example.com", "2001:db8::7", 443, &json!({ "protocol": "udp", "count": "12" })),
        line("db.prod.svc.cluster.local", "10.96.7.7", 5432, &plain),
        line("", "203.0.113.8", 8443, &json!({ "match": "none", "count": 3 })),
        line(
            "",
            "198.51.100.20",
            443,
            &json!({
                "match": "ambiguous", "candidates": ["a.example.net", "b.example.net"],
            }),
        ),
    ])
}

#[test]
fn reads_records_and_rows() {
    let row = json!({
        "address": "198.51.100.7", "port": 443, "protocol": "tcp", "name": "", "candidates": [],
        "match": "none", "outcome": "established", "count": "7", "k8s": { "namespace": "", "pod": "", "workload": "" },
    });
    let mut uses = example();
    let mut newer = row.clone();
    newer["schema"] = json!("dns.use/2");
    let others = ["{\"schema\":\"dns.transaction/1\"}", "no record", "{}", "[]"].map(str::to_owned);
    for line in [row.to_string(), newer.to_string()].into_iter().chain(others) {
        uses.line(line.as_bytes());
    }
    assert_eq!((uses.records, uses.elsewhere, uses.unreadable.lines()), (9, 7, 4));
    assert!(uses.unreadable.to_string().contains("1 of schema dns.use/2"), "{}", uses.unreadable);
    let [(name, workload)] = uses.workloads.iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((name.to_string(), &*name.kind), ("shop/web".to_owned(), "Deployment"));
    assert_eq!(workload.labels, BTreeMap::from([("app".to_owned(), "web".to_owned())]));
    assert_eq!(workload.uses.values().sum::<u64>(), 8 + 11 + 2);
}

#[test]
fn suggests_what_was_used() {
    let text = suggested(&example(), PolicyFormat::Cilium);
    let expected = "\
---
# not allowed: 3 connections to 203.0.113.8 port 8443/TCP; no name was looked up
# not allowed: 1 connection to 198.51.100.20 port 443/TCP; one of a.example.net, b.example.net
# service db in prod: all its ports are allowed
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: web-egress
  namespace: shop
spec:
  endpointSelector:
    matchLabels:
      app: web
  egress:
    - toEndpoints:
        - matchLabels:
            \"k8s:io.kubernetes.pod.namespace\": kube-system
            \"k8s:k8s-app\": kube-dns
      toPorts:
        - ports:
            - port: \"53\"
              protocol: ANY
          rules:
            dns:
              - matchPattern: \"*\"
    - toFQDNs:
        - matchName: cdn.example.com
      toPorts:
        - ports:
            - port: \"80\"
              protocol: TCP
            - port: \"443\"
              protocol: TCP
    - toFQDNs:
        - matchName: api.example.com
      toPorts:
        - ports:
            - port: \"443\"
              protocol: TCP
    - toFQDNs:
        - matchName: quic.example.com
      toPorts:
        - ports:
            - port: \"443\"
              protocol: UDP
    - toServices:
        - k8sService:
            serviceName: db
            namespace: prod
";
    assert_eq!(text, expected);
}

#[test]
fn names_that_the_api_refuses_are_left_out() {
    let names = ["it's.example", "a b.example", "db", "-x.example", "good.example"];
    let lines = names.map(|name| line(name, "198.51.100.7", 443, &json!({})));
    for (format, kept) in [
        (PolicyFormat::Cilium, &["db", "-x.example", "good.example"][..]),
        (PolicyFormat::Cluster, &["good.example"]),
    ] {
        let text = suggested(&uses(&lines), format);
        let (comments, policy) = text.split_once("apiVersion").unwrap();
        for name in names {
            assert_eq!(policy.contains(name), kept.contains(&name), "{name}: {text}");
            let comment = format!("{name} is no name that such a policy may have");
            assert_eq!(comments.contains(&comment), !kept.contains(&name), "{name}: {text}");
        }
    }
}

#[test]
fn selector_must_be_known() {
    let mut uses = example();
    uses.workloads.values_mut().for_each(|workload| workload.labels.clear());
    let error = suggest(&uses, PolicyFormat::Cilium, None).unwrap_err();
    assert_eq!(error.to_string(), "no label of the pods of shop/web is in the records");
    let selector = BTreeMap::from([("run".to_owned(), "yes".to_owned())]);
    let text = suggest(&uses, PolicyFormat::Kubernetes, Some(&selector)).unwrap().text;
    assert!(text.contains("      run: \"yes\"\n"), "{text}");
}

/// Reads a policy as `check` does.
fn read(text: &str) -> Vec<Policy> {
    let documents = dnscribe_config::yaml::documents(text).unwrap();
    documents.iter().flat_map(|document| Policy::read(document).unwrap()).collect()
}

#[test]
fn what_is_suggested_allows_what_was_used_and_no_more() {
    for format in PolicyFormat::ALL {
        let policies = read(&suggested(&example(), format));
        let verdict = check(&example(), &policies);
        assert_eq!((verdict.connections, verdict.unselected), (21, 0), "{format:?}");
        // The literal, and the ambiguous name.
        let refused: Vec<(u64, u16)> =
            verdict.refused.iter().map(|one| (one.count, one.destination.port)).collect();
        assert_eq!(refused, [(3, 8443), (1, 443)], "{format:?}");
        let plain = json!({});
        let strangers = uses(&[
            line("evil.example.com", "192.0.2.99", 443, &plain),
            line("api.example.com", "198.51.100.7", 22, &plain),
            line("api.example.com", "198.51.100.7", 443, &json!({ "protocol": "udp" })),
            line("db.test.svc.cluster.local", "10.96.7.8", 5432, &plain),
            line("xapi.example.com", "192.0.2.99", 443, &plain),
        ]);
        let verdict = check(&strangers, &policies);
        assert_eq!(verdict.allowed, 0, "{format:?}");
        assert_eq!(verdict.refused.len(), 5, "{format:?}");
    }
}

/// Learned on the first half of a traffic whose names follow Zipf's law, and checked on the other half.
#[test]
fn policy_of_one_half_covers_the_other() {
    let name = |number: u64| format!("n{number}.example.com");
    let mut seed = 1_u64;
    let mut halves = [Uses::default(), Uses::default()];
    let plain = json!({});
    for number in 0..40_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Of 200 names, the k-th with a share of 1/k.
        let mut draw = (seed >> 33) % (1..=200).map(|rank| 1_000_000 / rank).sum::<u64>();
        let mut rank = 1;
        while draw >= 1_000_000 / rank {
            draw -= 1_000_000 / rank;
            rank += 1;
        }
        let half = usize::from(number >= 20_000);
        halves[half].line(&line(&name(rank), "198.51.100.7", 443, &plain));
    }
    let [first, second] = &halves;
    for format in [PolicyFormat::Cilium, PolicyFormat::Cluster] {
        let text = suggested(first, format);
        let verdict = check(second, &read(&text));
        let (allowed, all) = (verdict.allowed, verdict.connections);
        assert!(allowed * 100 >= all * 99, "{allowed} of {all}");
        let used: BTreeSet<&str> = first
            .workloads
            .values()
            .flat_map(|one| one.uses.keys())
            .filter_map(Destination::name)
            .collect();
        assert_eq!(text.matches(".example.com").count(), used.len(), "not a name too many");
    }
}

#[test]
fn patterns_are_those_of_each_kind() {
    let cilium = |rule: &str| {
        let text = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{ name: p, namespace: shop }}\nspec:\n  \
             endpointSelector: {{}}\n  egress:\n  - {rule}\n"
        );
        read(&text)
    };
    let allows = |policies: &[Policy], name: &str| {
        let verdict = check(&uses(&[line(name, "203.0.113.5", 443, &json!({}))]), policies);
        verdict.allowed == 1
    };
    let one = cilium("toFQDNs: [{ matchPattern: \"*.example.com\" }]");
    assert!(allows(&one, "a.example.com") && !allows(&one, "a.b.example.com"));
    assert!(!allows(&one, "example.com"));
    let several = cilium("toFQDNs: [{ matchPattern: \"**.example.com\" }]");
    assert!(allows(&several, "a.b.example.com") && !allows(&several, "example.com"));
    let part = cilium("toFQDNs: [{ matchPattern: \"a*b-*.example.com\" }]");
    assert!(allows(&part, "axb-1.example.com") && !allows(&part, "ax-1.example.com"));
    let ports =
        cilium("{ toEntities: [world], toPorts: [{ ports: [{ port: \"400\", endPort: 450 }] }] }");
    assert!(allows(&ports, "any.example"));
    let prefix = cilium("toCIDRSet: [{ cidr: 203.0.113.0/24 }]");
    assert!(allows(&prefix, "any.example"));
    assert!(!allows(&cilium("toCIDR: [198.51.100.0/24]"), "any.example"));
    let cluster = "kind: ClusterNetworkPolicy\nmetadata: { name: c }\nspec:\n  subject: { pods: {} }\n  egress:\n  - action: Deny\n    \
                   to: [{ domainNames: [bad.example.com] }]\n  - action: Accept\n    to: [{ domainNames: [\"*.example.com\"] }]\n";
    let cluster = read(cluster);
    assert!(allows(&cluster, "a.b.example.com") && !allows(&cluster, "bad.example.com"));
    let refused = [
        (
            "kind: Pod\n",
            "kind \"Pod\" is not CiliumNetworkPolicy, ClusterNetworkPolicy or NetworkPolicy",
        ),
        (
            "kind: NetworkPolicy\nmetadata: { name: p, namespace: n }\nspec: { podSelector: { matchExpressions: [] } }\n",
            "matchExpressions of n/p is not evaluated",
        ),
        (
            "kind: NetworkPolicy\nmetadata: { name: p, namespace: n }\nspec: { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: 1.2.3 } }] }] }\n",
            "\"1.2.3\" is no address prefix",
        ),
    ];
    for (text, expected) in refused {
        let documents = dnscribe_config::yaml::documents(text).unwrap();
        assert_eq!(Policy::read(&documents[0]).unwrap_err().to_string(), expected);
    }
}

/// Returns a policy of the pods `app: web`.
fn policy(kind: &str, rest: &str) -> String {
    let of_pods = match kind {
        "CiliumNetworkPolicy" => "endpointSelector: { matchLabels: { \"k8s:app\": web } }",
        "NetworkPolicy" => "podSelector: { matchLabels: { app: web } }",
        _ => "subject: { pods: { podSelector: { matchLabels: { app: web } } } }",
    };
    format!(
        "---\nkind: {kind}\nmetadata: {{ name: p, namespace: shop }}\nspec: {{ {of_pods}, {rest} }}\n"
    )
}

/// What the API's documentation of each kind says, by the ports that are allowed and refused of 80, 443 and 8443 of a name outside
/// and 5432 of a service.
#[test]
fn policies_mean_what_their_api_says() {
    let plain = json!({});
    let all = uses(&[
        line("a.example.com", "198.51.100.7", 80, &plain),
        line("a.example.com", "198.51.100.7", 443, &plain),
        line("", "203.0.113.8", 8443, &plain),
        line("db.prod.svc.cluster.local", "10.96.7.7", 5432, &plain),
    ]);
    let (free, none): (&[u16], &[u16]) = (&[80, 443, 5432, 8443], &[]);
    let cases: &[(&str, &str, Option<&[u16]>)] = &[
        // Nothing on egress: the pods are free.
        ("NetworkPolicy", "policyTypes: [Ingress], egress: [{}]", None),
        ("NetworkPolicy", "ingress: [{}]", None),
        ("CiliumNetworkPolicy", "ingress: [{ fromEntities: [all] }]", None),
        ("CiliumNetworkPolicy", "egress: []", None),
        ("ClusterNetworkPolicy", "ingress: []", None),
        // Everything is denied but what is allowed.
        ("NetworkPolicy", "policyTypes: [Egress]", Some(none)),
        ("NetworkPolicy", "egress: [{}]", Some(free)),
        ("NetworkPolicy", "egress: [{ to: [], ports: [{ port: 443 }] }]", Some(&[443])),
        ("NetworkPolicy", "egress: [{ to: [], ports: [] }]", Some(free)),
        ("NetworkPolicy", "egress: [{ ports: [{ protocol: UDP }] }]", Some(none)),
        ("NetworkPolicy", "egress: [{ ports: [{ protocol: TCP }] }]", Some(free)),
        ("NetworkPolicy", "egress: [{ to: [{ namespaceSelector: {} }] }]", Some(&[5432])),
        ("NetworkPolicy", "egress: [{ to: [{ podSelector: {} }] }]", Some(none)),
        // Null is absent.
        (
            "NetworkPolicy",
            "egress: [{ to: [{ ipBlock: null, namespaceSelector: {}, podSelector: null }] }]",
            Some(&[5432]),
        ),
        (
            "NetworkPolicy",
            "egress: [{ to: [{ podSelector: {}, namespaceSelector: null }] }]",
            Some(none),
        ),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toFQDNs: [{ matchName: null, matchPattern: \"*.example.com\" }], toPorts: [{ ports: [{ port: \"443\" }] }] }]",
            Some(&[443]),
        ),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Deny, to: [{ namespaces: null, pods: null, networks: [0.0.0.0/0] }], protocols: [{ tcp: { destinationPort: { number: 80, range: null } }, udp: null }] }]",
            Some(&[443, 5432, 8443]),
        ),
        ("CiliumNetworkPolicy", "egress: [{}]", Some(none)),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toPorts: [{ ports: [{ port: \"443\" }] }] }]",
            Some(&[443]),
        ),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toFQDNs: [], toPorts: [{ ports: [{ port: \"443\" }] }] }]",
            Some(none),
        ),
        ("CiliumNetworkPolicy", "egress: [{ icmps: [{ fields: [{ type: 8 }] }] }]", Some(none)),
        ("CiliumNetworkPolicy", "egress: [{ toEntities: [cluster] }]", Some(&[5432])),
        ("CiliumNetworkPolicy", "egress: [{ toEntities: [world] }]", Some(&[80, 443, 8443])),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toEntities: [all] }], egressDeny: [{ toCIDR: [203.0.113.0/24] }]",
            Some(&[80, 443, 5432]),
        ),
        (
            "CiliumNetworkPolicy",
            "egressDeny: [{ toPorts: [{ ports: [{ port: \"80\", protocol: TCP }] }] }]",
            Some(none),
        ),
        (
            "CiliumNetworkPolicy",
            "enableDefaultDeny: { egress: false }, egressDeny: [{ toPorts: [{ ports: [{ port: \"80\" }] }] }]",
            Some(&[443, 5432, 8443]),
        ),
        // What no rule matches is left to others.
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Deny, to: [{ networks: [203.0.113.0/24] }] }]",
            Some(&[80, 443, 5432]),
        ),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Deny, to: [{ networks: [0.0.0.0/0] }], protocols: [{ tcp: { destinationPort: { number: 80 } } }] }]",
            Some(&[443, 5432, 8443]),
        ),
    ];
    for (kind, rest, expected) in cases {
        assert_eq!(allowed(&all, &policy(kind, rest)).as_deref(), *expected, "{kind} {rest}");
    }
    let specs = "kind: CiliumNetworkPolicy\nmetadata: { name: p, namespace: shop }\nspecs:\n\
                 - { endpointSelector: {}, egress: [{ toCIDR: [203.0.113.8/32] }] }\n\
                 - { endpointSelector: {}, egress: [{ toFQDNs: [{ matchName: a.example.com }] }] }\n";
    assert_eq!(allowed(&all, specs).as_deref(), Some(&[80, 443, 8443][..]));
}

/// Returns the ports that policies allow, sorted; none if no policy selects the pods.
fn allowed(uses: &Uses, policies: &str) -> Option<Vec<u16>> {
    let verdict = check(uses, &read(policies));
    assert_eq!(verdict.undecided, 0, "{policies}");
    let is_allowed = |port: &u16| verdict.refused.iter().all(|one| one.destination.port != *port);
    let destinations = uses.workloads.values().flat_map(|workload| workload.uses.keys());
    let mut ports: Vec<u16> =
        destinations.map(|destination| destination.port).filter(is_allowed).collect();
    ports.sort_unstable();
    (verdict.unselected == 0).then_some(ports)
}

#[test]
fn policies_of_a_cluster_come_in_their_order() {
    let plain = json!({});
    let all = uses(&[
        line("a.example.com", "198.51.100.7", 443, &plain),
        line("b.example.com", "203.0.113.8", 80, &plain),
    ]);
    let of = |tier: &str, priority: u32, action: &str, network: &str| {
        let rest = format!(
            "tier: {tier}, priority: {priority}, egress: [{{ action: {action}, to: [{{ networks: [{network}] }}] }}]"
        );
        policy("ClusterNetworkPolicy", &rest)
    };
    let (everywhere, network) = ("0.0.0.0/0", "203.0.113.0/24");
    let accept = of("Admin", 20, "Accept", everywhere);
    let isolated = policy("NetworkPolicy", "policyTypes: [Egress]");
    for (policies, expected) in [
        (vec![accept.clone(), of("Admin", 10, "Deny", network)], vec![443]),
        (vec![accept.clone(), of("Admin", 30, "Deny", network)], vec![80, 443]),
        (vec![accept.clone(), isolated.clone()], vec![80, 443]),
        (vec![accept, of("Admin", 10, "Pass", network), isolated.clone()], vec![443]),
        (vec![of("Baseline", 10, "Accept", everywhere), isolated], vec![]),
        (vec![of("Baseline", 10, "Deny", network)], vec![443]),
        (
            vec![
                of("Baseline", 10, "Deny", everywhere),
                policy(
                    "NetworkPolicy",
                    "egress: [{ to: [{ ipBlock: { cidr: 203.0.113.0/24 } }] }]",
                ),
            ],
            vec![80],
        ),
    ] {
        assert_eq!(allowed(&all, &policies.concat()), Some(expected), "{policies:?}");
    }
    let same = [of("Admin", 10, "Accept", everywhere), of("Admin", 10, "Deny", network)].concat();
    let verdict = check(&all, &read(&same));
    assert_eq!((verdict.allowed, verdict.undecided, verdict.refused.len()), (1, 1, 0));
}

#[test]
fn what_changes_the_meaning_is_evaluated_or_refused() {
    let error = |kind: &str, rest: &str| {
        let documents = dnscribe_config::yaml::documents(&policy(kind, rest)).unwrap();
        Policy::read(&documents[0]).map(|_| ()).unwrap_err().to_string()
    };
    for (kind, rest, what) in [
        ("CiliumNetworkPolicy", "egress: [{ toGroups: [{}] }]", "toGroups"),
        ("CiliumNetworkPolicy", "egress: [{ toNodes: [{}] }]", "toNodes"),
        ("CiliumNetworkPolicy", "egress: [{ toRequires: [{}] }]", "toRequires"),
        (
            "CiliumNetworkPolicy",
            "egress: [{ authentication: { mode: required } }]",
            "authentication",
        ),
        ("CiliumNetworkPolicy", "egress: [{ toEntities: [host] }]", "entity host"),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toCIDRSet: [{ cidr: 10.0.0.0/8, except: [10.1.0.0/16] }] }]",
            "except",
        ),
        ("CiliumNetworkPolicy", "egress: [{ toCIDRSet: [{ cidrGroupRef: g }] }]", "cidrGroupRef"),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toServices: [{ k8sServiceSelector: {} }] }]",
            "k8sServiceSelector",
        ),
        (
            "CiliumNetworkPolicy",
            "egress: [{ toPorts: [{ ports: [{ port: http }] }] }]",
            "port \"http\"",
        ),
        ("CiliumNetworkPolicy", "egress: [{ toPorts: [{ serverNames: [a] }] }]", "serverNames"),
        (
            "CiliumNetworkPolicy",
            "egressDeny: [{ toEndpoints: [{ matchLabels: { \"k8s:app\": db } }] }]",
            "label app in egressDeny",
        ),
        ("CiliumNetworkPolicy", "nodeSelector: {}", "nodeSelector"),
        ("NetworkPolicy", "egress: [{ ports: [{ port: http }] }]", "port \"http\""),
        (
            "NetworkPolicy",
            "egress: [{ to: [{ namespaceSelector: { matchLabels: { team: a } } }] }]",
            "label team of a namespace",
        ),
        (
            "NetworkPolicy",
            "egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/8, except: [] } }] }]",
            "except",
        ),
        ("ClusterNetworkPolicy", "egress: [{ action: Accept, to: [{ nodes: {} }] }]", "nodes"),
        ("ClusterNetworkPolicy", "egress: [{ action: Allow, to: [] }]", "action \"Allow\""),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Accept, to: [], protocols: [{ destinationNamedPort: http }] }]",
            "destinationNamedPort",
        ),
        (
            "ClusterNetworkPolicy",
            "egress: [{ action: Deny, to: [{ pods: { podSelector: { matchLabels: { app: db } } } }] }]",
            "label app of pods that are not accepted",
        ),
    ] {
        let expected = format!("{what} of shop/p is not evaluated");
        assert_eq!(error(kind, rest), expected, "{rest}");
    }
}

/// Returns how many items each list with a key has, at any depth.
fn lengths(value: &Value, key: &str) -> Vec<usize> {
    let mut found = Vec::new();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                found.extend(value.as_array().filter(|_| name == key).map(Vec::len));
                found.extend(lengths(value, key));
            }
        }
        Value::Array(list) => found.extend(list.iter().flat_map(|value| lengths(value, key))),
        _ => {}
    }
    found
}

/// The API refuses longer lists.
#[test]
fn suggestions_keep_to_the_limits_of_the_api() {
    let plain = json!({});
    let at = |name: String, port: u16| line(&name, "198.51.100.7", port, &plain);
    let mut lines: Vec<Vec<u8>> =
        (0..90).map(|n| at("ports.example.com".into(), 8_000 + n)).collect();
    lines.extend((0..700).map(|n| at(format!("n{n}.example.com"), 443)));
    lines.extend((0..30).map(|n| at(format!("d{n}.example.com"), 9_000 + n)));
    lines.extend((0..60).map(|n| at(format!("db.space{n}.svc.cluster.local"), 5432)));
    let all = uses(&lines);
    for (format, limits) in [
        (PolicyFormat::Cilium, &[("ports", 40)][..]),
        (
            PolicyFormat::Cluster,
            &[("egress", 25), ("to", 25), ("protocols", 25), ("domainNames", 25)],
        ),
        (PolicyFormat::Kubernetes, &[]),
    ] {
        let text = suggested(&all, format);
        let documents = dnscribe_config::yaml::documents(&text).unwrap();
        for (key, most) in limits {
            let longest = documents.iter().flat_map(|one| lengths(one, key)).max();
            assert_eq!(longest, Some(*most), "{key} of {format:?}");
        }
        let names: BTreeSet<String> =
            documents.iter().map(|one| one["metadata"]["name"].to_string()).collect();
        let priorities: BTreeSet<String> =
            documents.iter().map(|one| one["spec"]["priority"].to_string()).collect();
        assert_eq!(names.len(), documents.len(), "{names:?}");
        assert_eq!(priorities.len(), documents.len(), "{priorities:?}");
        let policies = read(&text);
        assert_eq!(check(&all, &policies).allowed, 880, "{format:?}");
        let stranger = uses(&[line("evil.example.com", "192.0.2.99", 443, &plain)]);
        assert_eq!(check(&stranger, &policies).refused.len(), 1, "{format:?}");
    }
}

#[test]
fn comments_do_not_deny_what_is_allowed() {
    let plain = json!({});
    let either = |names: &[&str], address: &str, port: u16| {
        line("", address, port, &json!({ "match": "ambiguous", "candidates": names }))
    };
    let all = uses(&[
        line("a.example.com", "198.51.100.7", 443, &plain),
        line("b.example.com", "198.51.100.7", 443, &plain),
        line("db.prod.svc.cluster.local", "10.96.7.7", 5432, &plain),
        either(&["a.example.com", "b.example.com"], "198.51.100.7", 443),
        either(&["a.example.com", "b.example.com"], "198.51.100.7", 80),
        either(&["a.example.com", "c.example.com"], "198.51.100.8", 443),
        either(&["db.prod.svc.cluster.local", "x.prod.svc.cluster.local"], "10.96.7.7", 5432),
    ]);
    let comments = |format| {
        let text = suggested(&all, format);
        let said = text.lines().filter(|line| line.starts_with("# ") && line.contains("allowed"));
        let said = said.filter(|line| line.contains("connection"));
        said.map(str::to_owned).collect::<Vec<_>>()
    };
    let (both, third) =
        ("one of a.example.com, b.example.com", "one of a.example.com, c.example.com");
    let service = "one of db.prod.svc.cluster.local, x.prod.svc.cluster.local";
    let named = [
        format!("# not allowed: 1 connection to 198.51.100.7 port 80/TCP; {both}"),
        format!(
            "# allowed only to a.example.com: 1 connection to 198.51.100.8 port 443/TCP; {third}"
        ),
        format!(
            "# allowed only to db.prod.svc.cluster.local: 1 connection to 10.96.7.7 port 5432/TCP; {service}"
        ),
    ];
    let perhaps = |count: u32| {
        let connections = if count == 1 { "connection" } else { "connections" };
        format!(
            "# allowed unless answers were missed: {count} {connections} by ambiguous names that are all allowed"
        )
    };
    let [port, name, services] = &named;
    let of_cilium = [port.clone(), name.clone(), services.clone(), perhaps(1)];
    assert_eq!(comments(PolicyFormat::Cilium), of_cilium);
    // Services by their namespaces.
    assert_eq!(comments(PolicyFormat::Cluster), [port.clone(), name.clone(), perhaps(2)]);
    // And names by their addresses, whatever they are.
    let by_address = [
        port.clone(),
        format!("# not allowed: 1 connection to 198.51.100.8 port 443/TCP; {third}"),
        perhaps(1),
    ];
    assert_eq!(comments(PolicyFormat::Kubernetes), by_address);
}
