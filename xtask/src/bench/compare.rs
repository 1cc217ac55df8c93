//! `bench --compare COMMIT`: the programs of another commit, measured in the same run.
//!
//! The parts name their programs by one folder. It is a symbolic link, which is turned to the programs of one side before
//! each run of a case.

use crate::{build, process};
use anyhow::{Context as _, Result};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Whose programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This tree's.
    Ours,
    /// Another commit's.
    Theirs,
}

/// Programs of this tree and of another commit.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Short hash of the other commit.
    pub commit: String,
    ours: PathBuf,
    theirs: PathBuf,
    link: PathBuf,
}

impl Comparison {
    /// Checks the commit out and builds these programs of it, unless this process runs with another user's rights: then they
    /// are built. `target/compare` keeps the checkout and what was built, for the next comparison.
    ///
    /// # Errors
    /// There is no such commit, or it does not build.
    pub fn prepare(commit: &str, profile: &str, programs: &[&str]) -> Result<Self> {
        let folder = environment::target().join("compare");
        let (tree, target) = (folder.join("tree"), folder.join("target"));
        let comparison = |commit: String| Self {
            commit,
            ours: build::folder_of(profile),
            theirs: target.join(build::folder(profile)),
            link: folder.join("programs"),
        };
        if process::is_elevated() {
            return Ok(comparison(commit.to_owned()));
        }
        let wanted = format!("{commit}^{{commit}}");
        let hash = git(&["rev-parse", "--short", "--verify", &wanted])
            .with_context(|| format!("--compare {commit}: no such commit"))?;
        let path = tree.to_str().context("a path that is not UTF-8")?;
        if tree.join(".git").exists() {
            // What is the same keeps its time, and is not compiled again.
            git(&["-C", path, "checkout", "--quiet", "--force", "--detach", &hash])?;
        } else {
            // Of a checkout that was deleted with `target`, git still knows.
            git(&["worktree", "prune"])?;
            git(&["worktree", "add", "--quiet", "--detach", path, &hash])?;
        }
        for program in programs {
            let mut cargo = process::cargo();
            cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &target);
            shell::pass_through(cargo.args(build::words(program, profile)))
                .with_context(|| format!("{program} of {hash}"))?;
        }
        Ok(comparison(hash))
    }

    /// Path of a program, whichever side is selected.
    pub fn program(&self, name: &str) -> PathBuf {
        self.link.join(name)
    }

    /// Turns to the programs of a side.
    ///
    /// # Errors
    /// The link cannot be written.
    pub fn select(&self, side: Side) -> Result<()> {
        let folder = match side {
            Side::Ours => &self.ours,
            Side::Theirs => &self.theirs,
        };
        let new = self.link.with_extension("new");
        let written = || {
            // What an interrupted run has left.
            if new.symlink_metadata().is_ok() {
                fs::remove_file(&new)?;
            }
            std::os::unix::fs::symlink(folder, &new)?;
            fs::rename(&new, &self.link)
        };
        written().with_context(|| format!("cannot write {}", self.link.display()))
    }
}

/// Runs git in the workspace; returns what it prints.
fn git(words: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    let output = shell::output(git.current_dir(environment::workspace()).args(words))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_those_of_the_selected_side() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        let comparison = Comparison {
            commit: "abc".to_owned(),
            ours: of("ours"),
            theirs: of("theirs"),
            link: of("programs"),
        };
        for name in ["ours", "theirs"] {
            fs::create_dir(of(name)).unwrap();
            fs::write(of(name).join("agent"), name).unwrap();
        }
        let program = comparison.program("agent");
        for (side, name) in
            [(Side::Theirs, "theirs"), (Side::Ours, "ours"), (Side::Theirs, "theirs")]
        {
            comparison.select(side).unwrap();
            assert_eq!(fs::read_to_string(&program).unwrap(), name);
        }
    }
}
