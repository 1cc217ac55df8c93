//! Compares names by labels, as built by search lists (resolv.conf(5)).

/// How two names may come from one search list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kinship {
    /// Both are the stem with a suffix, and neither suffix ends with the other.
    Cousins,
    /// Both are the stem with a suffix, and one suffix ends with the other: `a.b.example`,
    /// `a.example`.
    Devolution,
    /// One is the stem, the other has a suffix.
    Extension,
}

/// Returns the length of the common stem in bytes, and how the names are related. `None` if the
/// first labels differ, for the root, and for equal names.
pub(super) fn kinship(one: &str, other: &str) -> Option<(usize, Kinship)> {
    if one == other || one == "." || other == "." {
        return None;
    }
    let stem = common(one, other)?;
    let kinship = match (suffix_after(one, stem), suffix_after(other, stem)) {
        (None, _) | (_, None) => Kinship::Extension,
        (Some(one), Some(other)) if is_within(one, other) || is_within(other, one) => {
            Kinship::Devolution
        }
        _ => Kinship::Cousins,
    };
    Some((stem, kinship))
}

/// Returns the length of the common leading labels in bytes.
pub(super) fn common(one: &str, other: &str) -> Option<usize> {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let ends = |name: &str| name.len() == same || dots(name).any(|dot| dot == same);
    if same > 0 && ends(one) && ends(other) {
        return Some(same);
    }
    dots(one).take_while(|dot| *dot < same).last()
}

/// Returns what follows a stem and its dot; `None` for the stem itself.
pub(super) fn suffix_after(name: &str, stem: usize) -> Option<&str> {
    name.get(stem + 1..)
}

pub(super) fn first(name: &str) -> &str {
    name.get(..dots(name).next().unwrap_or(name.len())).unwrap_or(name)
}

/// Returns whether a stem is used with search lists. Reversed addresses and service names are
/// queried below many domains in a row too, but as separate questions (block lists, RFC 5782;
/// DMARC, RFC 7489).
pub(super) fn is_searchable(stem: &str) -> bool {
    let is_number = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    !stem.starts_with('_') && !stem.split('.').all(is_number)
}

/// Returns the offsets of the dots that end labels: the lengths of all possible stems.
pub(super) fn dots(name: &str) -> impl Iterator<Item = usize> {
    let mut escaped = false;
    name.bytes().enumerate().filter_map(move |(at, octet)| {
        let literal = std::mem::take(&mut escaped);
        escaped = octet == b'\\' && !literal;
        (octet == b'.' && !literal).then_some(at)
    })
}

fn is_within(name: &str, ancestor: &str) -> bool {
    name.strip_suffix(ancestor).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kin(one: &str, other: &str) -> Option<(String, Kinship)> {
        kinship(one, other).map(|(stem, kinship)| (one[..stem].to_owned(), kinship))
    }

    #[test]
    fn finds_kinship_of_search_list_names() {
        let some = |stem: &str, kinship| Some((stem.to_owned(), kinship));
        assert_eq!(kin("web.a.test", "web"), some("web", Kinship::Extension));
        assert_eq!(kin("www.x.test", "www.x.test.a.b"), some("www.x.test", Kinship::Extension));
        assert_eq!(
            kin("web.ns.svc.cluster.local", "web.svc.cluster.local"),
            some("web", Kinship::Devolution)
        );
        assert_eq!(kin("web.a.test", "web.b.example"), some("web", Kinship::Cousins));
        assert_eq!(kin("x.y.a.test", "x.y.b.test"), some("x.y", Kinship::Cousins));
        for (one, other) in [("web", "web"), ("web", "we"), ("web.a", "wet.a"), (".", "web")] {
            assert_eq!(kin(one, other), None, "{one} {other}");
        }
    }

    #[test]
    fn escaped_dot_does_not_end_label() {
        assert_eq!(first(r"a\.b.c"), r"a\.b");
        assert_eq!(first(r"a\\.b.c"), r"a\\");
        assert_eq!(kin(r"a\.b.c", r"a\.x.c"), None);
    }

    #[test]
    fn addresses_and_services_are_not_searchable() {
        for stem in ["_dmarc", "4.3.2.1", "_sip._udp"] {
            assert!(!is_searchable(stem), "{stem}");
        }
        assert!(is_searchable("web") && is_searchable("web.1") && is_searchable("mail_1"));
    }

    proptest! {
        #[test]
        fn common_stem_agrees_with_label_lists(a in "([ab]\\.){0,4}[ab]", b in "([ab]\\.){0,4}[ab]") {
            let labels = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
            let (x, y) = (labels(&a), labels(&b));
            let same = x.iter().zip(&y).take_while(|(p, q)| p == q).count();
            let expected = x[..same].join(".");
            prop_assert_eq!(common(&a, &b).map_or("", |stem| &a[..stem]), expected);
            let is_extension = kinship(&a, &b).is_some_and(|(_, kin)| kin == Kinship::Extension);
            let extends = |one: &str, other: &str| one.starts_with(&format!("{other}."));
            prop_assert_eq!(is_extension, extends(&a, &b) || extends(&b, &a));
        }
    }
}
