//! Response policy zones: master files (RFC 1035, 5) whose owners are the names and addresses that a
//! resolver treats specially.
//!
//! Only owners and policies matter here, so data of records is not read. Policies that let a name
//! pass (`rpz-passthru.`) are no indicators.

use super::Refusal;

/// What a response policy zone says of a name or of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Line of the record, from 1.
    pub line: usize,
    /// A domain, or addresses as ADDRESS/LENGTH.
    pub trigger: String,
}

/// A logical line of a master file: tokens over one or, in parentheses, several lines.
struct LogicalLine {
    line: usize,
    /// Whether the owner is that of the record before.
    continues: bool,
    tokens: Vec<String>,
}

/// Stands for the name of a zone whose file does not say it. No label is written like this.
const UNNAMED: &str = "@";

/// Reads all policies that block or rewrite, and what is refused.
pub(super) fn read(data: &str) -> Vec<Result<Policy, Refusal>> {
    // The zone's own name. `$ORIGIN` may name a domain below it, so only the first one can stand for the SOA record's owner.
    let mut zone: Option<String> = None;
    let mut origin = UNNAMED.to_owned();
    let mut owner = String::new();
    let mut found = Vec::new();
    for LogicalLine { line, continues, tokens } in logical_lines(data) {
        let mut tokens = tokens.into_iter();
        if !continues {
            match tokens.next() {
                Some(word) if word.eq_ignore_ascii_case("$ORIGIN") => {
                    let Some(name) = tokens.next() else { continue };
                    origin = absolute(&name, &origin);
                    if name.ends_with('.') {
                        zone.get_or_insert_with(|| origin.clone());
                    }
                    continue;
                }
                Some(word) if word.starts_with('$') => continue,
                Some(word) => owner = absolute(&word, &origin),
                None => continue,
            }
        }
        let Some((rtype, data)) = type_and_data(tokens) else {
            found
                .push(Err(Refusal::new(line, "no record: expected OWNER [TTL] [CLASS] TYPE DATA")));
            continue;
        };
        if rtype == "SOA" {
            zone = Some(owner.clone());
        } else if is_policy(&rtype, data.as_deref()) {
            let zone = zone.get_or_insert_with(|| UNNAMED.to_owned());
            found.extend(policy(line, relative(&owner, zone)).transpose());
        }
    }
    // A name has one record for each type of local data.
    found.dedup_by(|one, before| match (one, before) {
        (Ok(one), Ok(before)) => one.trigger == before.trigger,
        _ => false,
    });
    found
}

/// Returns the type of a record and the beginning of its data, after TTL and class in any order.
pub(super) fn type_and_data(
    tokens: impl Iterator<Item = String>,
) -> Option<(String, Option<String>)> {
    let mut tokens =
        tokens.map(|token| (token.to_ascii_uppercase(), token)).skip_while(|(upper, _)| {
            let is_ttl = upper.starts_with(|first: char| first.is_ascii_digit());
            is_ttl || matches!(upper.as_str(), "IN" | "CH" | "HS")
        });
    let (rtype, _) = tokens.next()?;
    let is_type = rtype.starts_with(|first: char| first.is_ascii_alphabetic());
    is_type.then(|| (rtype, tokens.next().map(|(_, data)| data)))
}

fn is_policy(rtype: &str, data: Option<&str>) -> bool {
    let passes = |data: &str| data.trim_end_matches('.').eq_ignore_ascii_case("rpz-passthru");
    !(rtype == "NS" || rtype == "CNAME" && data.is_some_and(passes))
}

/// Returns what a name below the zone's own stands for; none for the zone itself and for triggers that are not about
/// what clients query or get (`rpz-client-ip`, `rpz-nsdname`, `rpz-nsip`).
fn policy(line: usize, name: &str) -> Result<Option<Policy>, Refusal> {
    let trigger = match name.rsplit_once('.') {
        _ if name.is_empty() => return Ok(None),
        Some((_, "rpz-client-ip" | "rpz-nsdname" | "rpz-nsip")) => return Ok(None),
        Some((address, "rpz-ip")) => rpz_address(address)
            .ok_or_else(|| Refusal::new(line, format!("\"{name}\" is no address of a policy")))?,
        _ => name.to_owned(),
    };
    Ok(Some(Policy { line, trigger }))
}

/// Returns a name in lower case with the origin, if it is relative, and without its last dot.
fn absolute(name: &str, origin: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_suffix('.') {
        Some(absolute) => absolute.to_owned(),
        None if name == "@" => origin.to_owned(),
        None if origin.is_empty() => name,
        None => format!("{name}.{origin}"),
    }
}

/// Returns an absolute name without the zone's name.
fn relative<'a>(name: &'a str, zone: &str) -> &'a str {
    let below = |zone: &str| match name.strip_suffix(zone)? {
        "" => Some(""),
        before => before.strip_suffix('.'),
    };
    // Names before the first `$ORIGIN` are below the zone, however it is called.
    below(zone).or_else(|| below(UNNAMED)).unwrap_or(name)
}

/// Returns the prefix that `LENGTH.B4.B3.B2.B1` or `LENGTH.W8.zz.W1` stands for.
fn rpz_address(labels: &str) -> Option<String> {
    let mut labels = labels.split('.');
    let length: u8 = labels.next()?.parse().ok()?;
    let parts: Vec<&str> = labels.rev().collect();
    let is_ipv4 = parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok());
    let address = if is_ipv4 {
        parts.join(".")
    } else {
        let text = parts.join(":").replace("zz", "");
        match (text.strip_prefix(':'), text.strip_suffix(':')) {
            // `zz` at an end leaves one colon instead of two.
            (Some(_), _) => format!(":{text}"),
            (_, Some(_)) => format!("{text}:"),
            _ => text,
        }
    };
    Some(format!("{address}/{length}"))
}

/// Splits a master file into logical lines.
fn logical_lines(data: &str) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine> = None;
    let mut depth = 0_usize;
    for (number, text) in (1..).zip(data.lines()) {
        let continues = text.starts_with([' ', '\t']);
        let current =
            open.get_or_insert_with(|| LogicalLine { line: number, continues, tokens: Vec::new() });
        depth = tokens(text, depth, &mut current.tokens);
        if depth == 0 {
            lines.extend(open.take().filter(|line| !line.tokens.is_empty()));
        }
    }
    lines.extend(open.filter(|line| !line.tokens.is_empty()));
    lines
}

/// Adds the tokens of a line, without its comment; returns the depth of parentheses after it.
fn tokens(text: &str, mut depth: usize, into: &mut Vec<String>) -> usize {
    let mut token = String::new();
    let mut quoted = false;
    let mut end = |token: &mut String| {
        if !token.is_empty() {
            into.push(std::mem::take(token));
        }
    };
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => token.push(letter),
            ';' => break,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if letter.is_whitespace() => end(&mut token),
            _ => token.push(letter),
        }
    }
    end(&mut token);
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_policies() {
        let zone = "\
$TTL 60
@ IN SOA localhost. root.localhost. (
    1 ; serial
    3600 600 86400 60 )
  IN NS localhost.
bad.example CNAME .
*.bad.example 300 IN CNAME *.
walled.example A 192.0.2.1
               AAAA 2001:db8::1
good.bad.example CNAME rpz-passthru.
24.0.2.0.192.rpz-ip CNAME .
48.zz.1.db8.2001.rpz-ip CNAME .
32.1.0.0.127.rpz-client-ip CNAME rpz-drop.
tcp.example CNAME rpz-tcp-only.
broken.example
33.1.2.3.rpz-ip CNAME .
";
        let found = read(zone);
        let triggers: Vec<&str> =
            found.iter().flatten().map(|policy| policy.trigger.as_str()).collect();
        let expected = [
            "bad.example",
            "*.bad.example",
            "walled.example",
            "192.0.2.0/24",
            "2001:db8:1::/48",
            "tcp.example",
        ];
        assert_eq!(triggers[..6], expected);
        let refused: Vec<usize> =
            found.iter().filter_map(|one| one.as_ref().err()).map(|one| one.line).collect();
        assert_eq!(refused, [15]);
    }

    #[test]
    fn removes_the_origin() {
        let zone = "rpz.local. 60 IN SOA a. b. 1 2 3 4 5\nbad.example.rpz.local. 60 IN CNAME .\n";
        let found: Vec<Policy> = read(zone).into_iter().flatten().collect();
        assert_eq!(found, [Policy { line: 2, trigger: "bad.example".into() }]);
        let zone = "$ORIGIN rpz.local.\nbad.example.rpz.local. CNAME .\nother.example CNAME .\n";
        assert_eq!(read(zone).into_iter().flatten().count(), 2);
    }

    /// Returns the triggers of a file in which nothing is refused.
    fn triggers(zone: &str) -> Vec<String> {
        read(zone).into_iter().map(|policy| policy.unwrap().trigger).collect()
    }

    #[test]
    fn reads_what_named_compilezone_writes() {
        let relative = "\
$ORIGIN .
$TTL 60	; 1 minute
rpz.local		IN SOA	a. b. (
				1          ; serial
				2          ; refresh (2 seconds)
				3          ; retry (3 seconds)
				4          ; expire (4 seconds)
				5          ; minimum (5 seconds)
				)
			NS	a.
$ORIGIN nested.example.rpz.local.
ftp			CNAME	.
www			A	192.0.2.1
			AAAA	2001:db8::1
$ORIGIN rpz-ip.rpz.local.
32.9.2.0.192		CNAME	.
24.0.100.51.198		CNAME	.
$ORIGIN rpz.local.
evil.ru			CNAME	.
$ORIGIN evil.ru.rpz.local.
*			CNAME	.
com			CNAME	.
$ORIGIN com.evil.ru.rpz.local.
paypal			CNAME	.
$ORIGIN evil.ru.rpz.local.
mail			CNAME	.
";
        let full = "\
rpz.local.					      60 IN SOA		a. b. 1 2 3 4 5
rpz.local.					      60 IN NS		a.
ftp.nested.example.rpz.local.			      60 IN CNAME	.
www.nested.example.rpz.local.			      60 IN A		192.0.2.1
www.nested.example.rpz.local.			      60 IN AAAA	2001:db8::1
32.9.2.0.192.rpz-ip.rpz.local.			      60 IN CNAME	.
24.0.100.51.198.rpz-ip.rpz.local.		      60 IN CNAME	.
evil.ru.rpz.local.				      60 IN CNAME	.
*.evil.ru.rpz.local.				      60 IN CNAME	.
com.evil.ru.rpz.local.				      60 IN CNAME	.
paypal.com.evil.ru.rpz.local.			      60 IN CNAME	.
mail.evil.ru.rpz.local.				      60 IN CNAME	.
";
        let expected = [
            "ftp.nested.example",
            "www.nested.example",
            "192.0.2.9/32",
            "198.51.100.0/24",
            "evil.ru",
            "*.evil.ru",
            "com.evil.ru",
            "paypal.com.evil.ru",
            "mail.evil.ru",
        ];
        assert_eq!(triggers(relative), expected);
        assert_eq!(triggers(full), expected);
    }

    #[test]
    fn origins_below_the_zone_belong_to_the_names() {
        let soa = "SOA a. b. 1 2 3 4 5\n";
        let file = |before: &str, after: &str| triggers(&format!("{before} {soa}{after}"));
        // A relative origin is below the one before it.
        let nested = "$ORIGIN evil.ru\n@ CNAME .\n$ORIGIN com\npaypal CNAME .\n";
        for before in ["@", "rpz.local.", "$ORIGIN rpz.local.\n@", "$ORIGIN local.\n$ORIGIN rpz\n@"]
        {
            assert_eq!(file(before, nested), ["evil.ru", "paypal.com.evil.ru"], "{before}");
        }
        assert_eq!(file("rpz", "bad.example.rpz CNAME .\n"), ["bad.example"]);
        // The zone's name is not in the file, so no part of the origin can be left out.
        let unnamed = "$ORIGIN evil.ru.rpz.local.\ncom CNAME .\n";
        assert_eq!(file("@", unnamed), ["com.evil.ru.rpz.local"]);
        assert_eq!(triggers("bad.example. CNAME .\n$ORIGIN ru.\ncom CNAME .\n")[1], "com.ru");
    }
}
