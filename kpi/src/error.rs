//! Failures.

use datafusion::error::DataFusionError;
use dnscribe_cli::exit::Exit;
use std::fmt::Display;
use std::fs;
use std::path::Path;

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
    },
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

    /// The store cannot be opened or read.
    pub fn store(path: &str, problem: &(impl Display + ?Sized)) -> Self {
        Self::Store { path: path.to_owned(), problem: problem.to_string() }
    }

    /// The store cannot be written.
    pub fn write(path: &str, problem: &(impl Display + ?Sized)) -> Self {
        Self::Write { path: path.to_owned(), problem: problem.to_string() }
    }

    /// A temporary file cannot be written.
    #[expect(clippy::needless_pass_by_value, reason = "what `map_err` gives")]
    #[must_use]
    pub fn temporary(error: std::io::Error) -> Self {
        Self::Failed(format!("temporary file: {error}"))
    }

    /// Creates a function that adds what was computed to an error of the query engine.
    pub fn query(context: &str) -> impl FnOnce(DataFusionError) -> Self {
        let context = context.to_owned();
        move |error| Self::Query { context, error: Box::new(error) }
    }
}

impl From<KpiError> for Exit {
    fn from(error: KpiError) -> Self {
        match error {
            KpiError::Usage(problem) => Self::usage(problem),
            KpiError::Write { .. } => {
                Self::failed(error.to_string()).with_remedy("free space, and run the command again")
            }
            _ => Self::failed(error.to_string()),
        }
    }
}
