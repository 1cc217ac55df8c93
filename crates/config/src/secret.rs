//! Secrets, and how to log in at a server. A secret may stand in a file of its own, as Kubernetes,
//! systemd and Docker provide it.

use super::ConfigError;
use super::value::{BadValue, Name};
use dnscribe_delivery::{Authorization, Login, Password, files};
use std::convert::Infallible;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Size limit of a secret's file in bytes: more than any chain of certificates.
const MAX_BYTES: u64 = 1 << 20;

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// The URL of a server: `http://` or `https://`, a host, perhaps a path; no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

impl FromStr for Url {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let rest = rest.unwrap_or_default();
        if rest.contains('@') {
            let problem = "a URL with a name in it: give username and password_file instead";
            return Err(BadValue::unquoted(problem));
        }
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
        if rest.is_empty() || rest.starts_with([':', '/']) || !rest.bytes().all(legal) {
            let problem = "not the URL of a server: give one such as http://registry:8081";
            return Err(BadValue::unquoted(problem));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The keys of a section by which one logs in at a server.
pub(super) struct LoginKeys<'a> {
    pub(super) username: Option<&'a Name>,
    pub(super) password: Option<&'a Secret>,
    pub(super) password_file: Option<&'a Path>,
    pub(super) bearer_token_file: Option<&'a Path>,
}

impl LoginKeys<'_> {
    /// Returns the credentials, if `section` gives them.
    pub(super) fn authorization(
        &self,
        section: &str,
    ) -> Result<Option<Authorization>, ConfigError> {
        let Self { username, password, password_file, bearer_token_file } = *self;
        if username.is_some() && bearer_token_file.is_some() {
            let problem = "both username and bearer_token_file: keep one way to log in";
            return ConfigError::in_section(section, problem);
        }
        let login = login(section, username.cloned(), password.cloned(), password_file)?;
        if let Some(file) = bearer_token_file {
            let token = password_in(section, "bearer_token_file", file)?;
            return Ok(Some(Authorization::Bearer(token)));
        }
        Ok(login.map(Authorization::Basic))
    }
}

/// Returns name and password for a server, if `section` gives them.
pub(super) fn login(
    section: &str,
    username: Option<Name>,
    password: Option<Secret>,
    password_file: Option<&Path>,
) -> Result<Option<Login>, ConfigError> {
    let wrong = |problem| ConfigError::in_section(section, problem);
    let password = match (password, password_file) {
        (Some(_), Some(_)) => return wrong("both password and password_file: keep one of them"),
        (Some(Secret(password)), None) => Some(Password(password)),
        (None, file) => file.map(|file| password_in(section, "password_file", file)).transpose()?,
    };
    match (username, password) {
        (Some(Name(username)), Some(password)) => Ok(Some(Login { username, password })),
        (None, None) => Ok(None),
        (Some(_), None) => wrong("username without its password: give password_file too"),
        (None, Some(_)) => wrong("a password without its username: give username too"),
    }
}

/// Reads the file of a key.
pub(super) fn password_in(section: &str, key: &str, file: &Path) -> Result<Password, ConfigError> {
    read(file)
        .map(Password)
        .or_else(|why| ConfigError::in_section(section, format!("{key} {}: {why}", file.display())))
}

/// Reads a file without its last newline.
///
/// # Errors
/// A few words, without the content: the file cannot be read, is empty, too long, or not text.
pub fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    files::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    // The error of the standard library would contain the bytes.
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("it contains a NUL byte".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn removes_only_the_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let content = |octets: &[u8]| {
            fs::write(&path, octets).unwrap();
            read(&path)
        };
        assert_eq!(content(b"hunter2\n"), Ok("hunter2".into()));
        assert_eq!(content(b"hunter2\r\n"), Ok("hunter2".into()));
        assert_eq!(content(b" a\nb \n\n"), Ok(" a\nb \n".into()));
        assert_eq!(content(b"hunter2"), Ok("hunter2".into()));
        let long = vec![b'x'; 1_048_577];
        for bad in [&b""[..], b"\n", b"\r\n", b"hunter2\xFF", b"hunter2\0", &long] {
            let why = content(bad).unwrap_err();
            assert!(!why.contains("hunter"), "{why}");
        }
        assert!(read(folder.path()).is_err() && read(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn reads_urls() {
        let url = |text: &str| text.parse::<Url>().map(|url| url.0);
        for good in ["http://registry:8081", "https://[::1]:443/apis/ccompat/v7"] {
            assert_eq!(url(good).as_deref(), Ok(good));
        }
        assert_eq!(url("http://a/").as_deref(), Ok("http://a"));
        for bad in ["registry:8081", "http://", "ftp://a", "http://:80", "http://a b", "http://a?b"]
        {
            let why = url(bad).unwrap_err().to_string();
            assert!(why.starts_with("not the URL of a server"), "{bad}: {why}");
        }
        let why = url("http://me:hunter2@a").unwrap_err().to_string();
        assert!(why.starts_with("a URL with a name in it") && !why.contains("hunter2"), "{why}");
    }
}
