use super::*;

fn suffixes(names: &[&str]) -> NameSuffixes {
    names.iter().map(|name| name.parse::<NameSuffix>().unwrap()).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn subject<'a>(qname: &'a str, client: &str) -> FilterSubject<'a> {
    FilterSubject {
        question: Some(FilterQuestion { qname: Some(qname), qtypes: &[1, 28] }),
        client: Some(client.parse().unwrap()),
        comm: Some("curl"),
        exe: Some("/usr/bin/curl"),
        container: Some("4b6ee1d1c3c2ff"),
        pod: Some(("shop", "cart-1")),
        resolvers: &[Cow::Borrowed("corp-dns")],
        status: Some("answered"),
        rcode: Some("SERVFAIL"),
    }
}

#[test]
fn matches_suffixes_by_label() {
    let set = suffixes(&["Corp.Example.", ".bücher.example", "x.test"]);
    for within in
        ["corp.example", "a.corp.example", "xn--bcher-kva.example", "a.b.x.test", "\\\\.x.test"]
    {
        assert!(set.matches(within), "{within}");
    }
    for beside in ["acorp.example", "example", "corp.example.org", "a\\.x.test", ".", "test"] {
        assert!(!set.matches(beside), "{beside}");
    }
    let all = suffixes(&["."]);
    assert!(all.matches(".") && all.matches("a.b"));
}

#[test]
fn an_escape_is_one_byte_of_a_label() {
    assert!(suffixes(&["dot\\."]).matches("a.dot\\."));
    assert!(suffixes(&["dot\\\\."]).matches("a.dot\\\\"), "an escaped backslash and the root");
    let longest = format!("{}.0/25.in-addr.arpa", "\\255".repeat(63));
    assert!(suffixes(&[&longest]).matches(&longest));
}

#[test]
fn rejects_invalid_names() {
    let (label, long) = ("x".repeat(64), ["x"; 128].join("."));
    for bad in
        ["", "..", "a..b", "*.example", "a b", "\u{ad}", "http://example.com", "a\\", &label, &long]
    {
        let why = bad.parse::<NameSuffix>().unwrap_err().to_string();
        assert!(why.contains("example.com"), "{why}");
    }
}

#[test]
fn requires_all_included_and_no_excluded_criteria() {
    let include = Criteria {
        qname: Some(suffixes(&["example"])),
        client: Some(
            ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]
                .into_iter()
                .collect(),
        ),
        ..Criteria::default()
    };
    let exclude = Criteria { qname: Some(suffixes(&["noise.example"])), ..Criteria::default() };
    let filter = Filter { include, exclude };
    assert!(filter.admits(&subject("a.example", "192.0.2.9")));
    assert!(filter.admits(&subject("a.example", "2001:db8::1")));
    assert!(filter.admits(&subject("a.example", "::ffff:192.0.2.9")), "a mapped address");
    assert!(!filter.admits(&subject("a.example", "198.51.100.9")));
    assert!(!filter.admits(&subject("a.test", "192.0.2.9")));
    assert!(!filter.admits(&subject("b.noise.example", "192.0.2.9")));
    assert!(filter.reads_names());
}

#[test]
fn each_criterion_is_independent() {
    let fits = |criteria: Criteria| {
        Filter { include: criteria, ..Filter::default() }.admits(&subject("a", "::1"))
    };
    let types = |types: &[u16]| Some(types.iter().copied().collect());
    assert!(fits(Criteria { qtype: types(&[28]), ..Criteria::default() }));
    assert!(!fits(Criteria { qtype: types(&[16]), ..Criteria::default() }));
    assert!(fits(Criteria { process: Some(set(&["wget", "curl"])), ..Criteria::default() }));
    assert!(fits(Criteria { process: Some(set(&["/usr/bin/curl"])), ..Criteria::default() }));
    assert!(!fits(Criteria { process: Some(set(&["cur"])), ..Criteria::default() }));
    assert!(fits(Criteria { container: Some(set(&["4b6ee1"])), ..Criteria::default() }));
    assert!(!fits(Criteria { container: Some(set(&["ee1"])), ..Criteria::default() }));
    assert!(fits(Criteria { namespace: Some(set(&["shop"])), ..Criteria::default() }));
    assert!(!fits(Criteria { namespace: Some(set(&["cart-1"])), ..Criteria::default() }));
    assert!(fits(Criteria { resolver: Some(set(&["corp-dns"])), ..Criteria::default() }));
    assert!(!fits(Criteria { resolver: Some(set(&["corp"])), ..Criteria::default() }));
    for (status, is_fit) in [("answered", true), ("servfail", true), ("timeout", false)] {
        let status = Some(set(&[status]));
        assert_eq!(fits(Criteria { status, ..Criteria::default() }), is_fit);
    }
    assert!(fits(Criteria { pod: Some(set(&["cart-1"])), ..Criteria::default() }));
    assert!(!fits(Criteria { pod: Some(set(&["cart"])), ..Criteria::default() }));
}

#[test]
fn unknown_property_matches_no_criterion() {
    let unknown =
        FilterSubject { question: Some(FilterQuestion::default()), ..FilterSubject::default() };
    let criteria = [
        Criteria { qname: Some(suffixes(&["."])), ..Criteria::default() },
        Criteria { process: Some(set(&["curl"])), ..Criteria::default() },
        Criteria { container: Some(set(&["4"])), ..Criteria::default() },
        Criteria { namespace: Some(set(&["shop"])), ..Criteria::default() },
        Criteria { qtype: Some([1].into()), ..Criteria::default() },
    ];
    for criteria in criteria {
        let included = Filter { include: criteria.clone(), ..Filter::default() };
        let excluded = Filter { exclude: criteria, ..Filter::default() };
        assert!(!included.admits(&unknown) && excluded.admits(&unknown));
    }
    let connection = FilterSubject::default();
    let names = Criteria { qname: Some(suffixes(&["example"])), ..Criteria::default() };
    assert!(
        Filter { include: names, ..Filter::default() }.admits(&connection),
        "it has no question"
    );
    let failed = Criteria { status: Some(set(&["timeout"])), ..Criteria::default() };
    let filter = Filter { include: failed, ..Filter::default() };
    assert!(filter.admits(&unknown), "a message has no status");
    assert!(!filter.admits(&FilterSubject { status: Some("answered"), ..unknown }));
}

#[test]
fn filter_without_criteria_is_not_stored() {
    let filters = StreamFilters::default().with_filter(Stream::Transactions, Filter::default());
    assert_eq!(filters, StreamFilters::default());
    assert!(filters.get(Stream::Transactions).is_none());
}
