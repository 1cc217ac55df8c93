//! Errors of the configuration.

use std::path::PathBuf;

/// Reason why a configuration is refused, with its place. Never contains a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::sync::Arc<std::io::Error>,
    },
    /// A key or a value in the file is wrong.
    #[error("{}: line {line}, column {column}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The full name of the key, and what is wrong.
        message: String,
    },
    /// A variable that is a setting is wrong.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Values that are right each do not fit together: the keys, what is wrong, and what to give.
    #[error("{0}")]
    Invalid(String),
}

impl ConfigError {
    /// Refuses settings of a section.
    ///
    /// # Errors
    /// Always.
    pub fn in_section<T>(section: &str, problem: impl std::fmt::Display) -> Result<T, Self> {
        Err(Self::Invalid(format!("{section}: {problem}")))
    }
}
