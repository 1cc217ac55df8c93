//! Failures.

use datafusion::error::DataFusionError;
use dnscribe_cli::exit::Exit;
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What to do where a store must not be written.
const DENIED: &str = "let this user write the store, and run the command again";

/// Reason why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum KpiError {
    /// The store cannot be opened or read.
    #[error("{path}: {problem}")]
    Store {
        /// File or folder.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The store cannot be written. Nothing is half-written.
    #[error("cannot write {path}: {problem}; nothing was committed")]
    Write {
        /// File.
        path: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The storage has not said whether it has a commit: what this commit names must stay.
    #[error("cannot write {path}: {problem}; the next command shows whether it was committed")]
    Undecided {
        /// File.
        path: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file of the store has other bytes than were written.
    #[error("{0} is damaged: its bytes are not those that were written")]
    Damaged(String),
    /// An input file, argument or dictionary is wrong.
    #[error("{0}")]
    Usage(String),
    /// A query failed.
    #[error("{context}: {error}")]
    Query {
        /// What was computed.
        context: String,
        /// Error of the query engine.
        error: Box<DataFusionError>,
    },
    /// A sum is too large, or one of its parts is.
    #[error("a sum of values is too large")]
    TooLarge,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl KpiError {
    /// Reads a file that an operator has written. Errors begin with its name.
    ///
    /// # Errors
    /// The file cannot be read, or `parse` refuses it.
    pub fn reading<T>(
        path: &Path,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Self> {
        let named = |problem: String| Self::Usage(format!("{}: {problem}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        parse(&text).map_err(named)
    }

    /// Names a temporary file in a message by where its content came from.
    #[must_use]
    pub fn renamed(self, file: &Path, name: &str) -> Self {
        match self {
            Self::Usage(problem) => Self::Usage(problem.replace(&*file.to_string_lossy(), name)),
            other => other,
        }
    }

    /// The store cannot be opened or read.
    pub fn store(path: &str, problem: &(impl Display + ?Sized)) -> Self {
        Self::Store { path: path.to_owned(), problem: problem.to_string() }
    }

    /// The store cannot be written.
    pub fn write(path: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Write { path: path.to_owned(), problem: error.to_string(), remedy: remedy(error) }
    }

    /// It is not known whether a commit was written.
    pub fn undecided(path: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Undecided { path: path.to_owned(), problem: error.to_string(), remedy: remedy(error) }
    }

    /// A temporary file cannot be written.
    #[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
    #[must_use]
    pub fn temporary(error: io::Error) -> Self {
        Self::Failed(format!("temporary file: {error}"))
    }

    /// Creates a function that adds what was computed to an error of the query engine.
    pub fn query(context: &str) -> impl FnOnce(DataFusionError) -> Self {
        let context = context.to_owned();
        move |error| Self::Query { context, error: Box::new(error) }
    }
}

/// What to do where a file cannot be written, by what is behind the error.
fn remedy(error: &(dyn Error + 'static)) -> &'static str {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    let mut cause = Some(error);
    while let Some(error) = cause {
        let refused = error.downcast_ref();
        match error.downcast_ref().map(io::Error::kind) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
                return "free space, and run the command again";
            }
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => return DENIED,
            _ if matches!(refused, Some(PermissionDenied { .. } | Unauthenticated { .. })) => {
                return DENIED;
            }
            _ => cause = error.source(),
        }
    }
    "run the command again once the store can be written"
}

impl From<KpiError> for Exit {
    fn from(error: KpiError) -> Self {
        match error {
            KpiError::Usage(problem) => Self::usage(problem),
            KpiError::Write { remedy, .. } | KpiError::Undecided { remedy, .. } => {
                Self::failed(error.to_string()).with_remedy(remedy)
            }
            KpiError::Damaged(_) => Self::failed(error.to_string()).with_remedy(
                "`compute --all` writes it anew if all facts give its values; else restore it from a backup",
            ),
            _ => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_are_not_named() {
        let file = Path::new("/tmp/scratch/.tmpAQ9D2d");
        let error = KpiError::Usage(format!("{}: not UTF-8", file.display()));
        let error = error.renamed(file, "s3://exports/a.csv");
        assert_eq!(error.to_string(), "s3://exports/a.csv: not UTF-8");
    }

    #[test]
    fn remedies_are_for_what_is_wrong() {
        let local = |kind: ErrorKind| {
            let source = Box::new(io::Error::from(kind));
            object_store::Error::Generic { store: "LocalFileSystem", source }
        };
        let refused = object_store::Error::PermissionDenied {
            path: "log/1.json".to_owned(),
            source: "403".into(),
        };
        for (error, expected) in [
            (local(ErrorKind::StorageFull), "free space"),
            (local(ErrorKind::ReadOnlyFilesystem), "let this user write"),
            (local(ErrorKind::PermissionDenied), "let this user write"),
            (local(ErrorKind::NotADirectory), "once the store can be written"),
            (refused, "let this user write"),
        ] {
            let KpiError::Write { remedy, .. } = KpiError::write("log/1.json", &error) else {
                unreachable!()
            };
            assert!(remedy.contains(expected), "{error}: {remedy}");
        }
    }
}
