//! Addresses of stores (`--store`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// `TimescaleDB`: `postgres://…`.
    TimescaleDb,
    /// `ClickHouse`: `http://…` or `https://…`.
    ClickHouse,
    /// `InfluxDB` 2: `influx:http://…`.
    InfluxDb,
}

/// Address of a store. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    /// Kind of the store.
    pub kind: StoreKind,
    /// URL without user, password and parameters.
    pub base: String,
    /// User name, if given.
    pub user: Option<String>,
    /// Password or token of the URL itself, if given.
    pub password: Option<String>,
    /// File that contains the password or token, if given.
    pub password_file: Option<PathBuf>,
    /// Other parameters, such as `database`, `org`, `bucket` and `sslmode`.
    pub parameters: Vec<(String, String)>,
}

impl StoreUrl {
    /// Environment variable with the password, as the store's own client has it.
    #[must_use]
    pub const fn variable(&self) -> &'static str {
        match self.kind {
            StoreKind::TimescaleDb => "PGPASSWORD",
            StoreKind::ClickHouse => "CLICKHOUSE_PASSWORD",
            StoreKind::InfluxDb => "INFLUX_TOKEN",
        }
    }

    /// Returns a parameter, else the default.
    #[must_use]
    pub fn parameter<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map_or(default, |(_, value)| value)
    }

    /// Returns the password or token: of the URL, else of `password_file`, else of the environment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_password(&self) -> Result<Option<String>, String> {
        if let (None, Some(path)) = (&self.password, &self.password_file) {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            return Ok(Some(text.trim_end().to_owned()));
        }
        Ok(self.password.clone().or_else(|| std::env::var(self.variable()).ok()))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            StoreKind::TimescaleDb => "timescaledb",
            StoreKind::ClickHouse => "clickhouse",
            StoreKind::InfluxDb => "influxdb",
        };
        let address = self.base.split_once("://").map_or(self.base.as_str(), |(_, rest)| rest);
        write!(f, "{kind} {}", address.trim_end_matches('/'))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "give postgres://USER@HOST/DB, http://HOST:8123/?database=dns or \
                              influx:http://HOST:8086/?org=O&bucket=B (the token in INFLUX_TOKEN, or \
                              &token=T or &password_file=FILE)";
        // The text may contain a password and is not repeated.
        let refusal = || format!("not the address of a store: {REMEDY}");
        let (kind, url) = match text.strip_prefix("influx:") {
            Some(url) => (StoreKind::InfluxDb, url),
            None if text.starts_with("postgres") => (StoreKind::TimescaleDb, text),
            None => (StoreKind::ClickHouse, text),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(refusal)?;
        let fits = match kind {
            StoreKind::TimescaleDb => matches!(scheme, "postgres" | "postgresql"),
            StoreKind::ClickHouse | StoreKind::InfluxDb => matches!(scheme, "http" | "https"),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if !fits || host.is_empty() {
            return Err(refusal());
        }
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (Some(decoded(user)), Some(decoded(password))),
            None => (None, None),
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut parameters: Vec<(String, String)> =
            pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        let mut take = |name: &str| {
            let index = parameters.iter().position(|(key, _)| key == name)?;
            Some(parameters.remove(index).1)
        };
        let password_file = take("password_file").map(PathBuf::from);
        let password = take("token").or(password);
        Ok(Self {
            kind,
            base: format!("{scheme}://{host}/{path}"),
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()),
            password_file,
            parameters,
        })
    }
}

/// Decodes `%XX` of a part of a URL (RFC 3986, 2.1).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_without_showing_passwords() {
        let url: StoreUrl = "postgres://dns:s%40crit@db:5432/dns?sslmode=require".parse().unwrap();
        assert_eq!(
            (url.kind, url.base.as_str()),
            (StoreKind::TimescaleDb, "postgres://db:5432/dns")
        );
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("dns"), Some("s@crit")));
        assert_eq!(url.parameter("sslmode", "prefer"), "require");
        let shown = format!("{url} {url:?}");
        assert!(shown.contains("db:5432/dns") && !shown.contains("crit"), "{shown}");
        let url: StoreUrl =
            "influx:http://db:8086?org=o&bucket=b&password_file=/run/token".parse().unwrap();
        let token: StoreUrl = "influx:http://db:8086/?org=o&token=a%3D%3D".parse().unwrap();
        assert_eq!(token.read_password().unwrap().as_deref(), Some("a=="));
        assert_eq!(token.parameters.len(), 1);
        assert_eq!((url.kind, url.variable()), (StoreKind::InfluxDb, "INFLUX_TOKEN"));
        assert_eq!(
            (url.parameter("org", ""), url.password_file.clone()),
            ("o", Some("/run/token".into()))
        );
        for bad in
            ["", "db:5432", "ftp://db", "postgres://", "influx:postgres://db", "mysql://a:secret@b"]
        {
            let why = bad.parse::<StoreUrl>().unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
