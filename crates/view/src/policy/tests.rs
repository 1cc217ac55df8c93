use super::*;
use serde_json::{Value, json};

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

/// What a workload does: names at one or two ports, one of them with two addresses, services, a literal, an ambiguous name.
fn example() -> Uses {
    let plain = json!({});
    let mut other_pod =
        json!({ "k8s": { "namespace": "shop", "pod": "web-7d9-y", "workload": "web" } });
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
        "count": "7", "k8s": { "namespace": "", "pod": "", "workload": "" },
    });
    let mut uses = example();
    for line in [row.to_string().as_str(), "{\"schema\":\"dns.transaction/1\"}", "no record", "{}"]
    {
        uses.line(line.as_bytes());
    }
    assert_eq!((uses.records, uses.elsewhere, uses.unreadable), (9, 7, 2));
    let [((namespace, name), workload)] =
        uses.workloads.iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((&**namespace, &**name), ("shop", "web"));
    assert_eq!(workload.labels, BTreeMap::from([("app".to_owned(), "web".to_owned())]));
    assert_eq!(workload.uses.values().sum::<u64>(), 8 + 11 + 2);
}

#[test]
fn suggests_what_was_used() {
    let text = suggest(&example(), PolicyFormat::Cilium, None).unwrap();
    let expected = "\
---
# not allowed: 3 connections to 203.0.113.8 port 8443/TCP; no name was looked up
# not allowed: 1 connection to 198.51.100.20 port 443/TCP; one of a.example.net, b.example.net
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
        let text = suggest(&uses(&lines), format, None).unwrap();
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
    let text = suggest(&uses, PolicyFormat::Kubernetes, Some(&selector)).unwrap();
    assert!(text.contains("      run: \"yes\"\n"), "{text}");
}

/// Reads a policy as `check` does.
fn read(text: &str) -> Vec<Policy> {
    let documents = dnscribe_config::yaml::documents(text).unwrap();
    documents.iter().map(|document| Policy::read(document).unwrap()).collect()
}

#[test]
fn what_is_suggested_allows_what_was_used_and_no_more() {
    for format in PolicyFormat::ALL {
        let policies = read(&suggest(&example(), format, None).unwrap());
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
        let text = suggest(first, format, None).unwrap();
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
            "kind: NetworkPolicy\nspec: { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: 1.2.3 } }] }] }\n",
            "\"1.2.3\" is no address prefix",
        ),
    ];
    for (text, expected) in refused {
        let documents = dnscribe_config::yaml::documents(text).unwrap();
        assert_eq!(Policy::read(&documents[0]).unwrap_err().to_string(), expected);
    }
}
