//! Erasure of persons: their accounts and domains lose their names in all facts, and their rows can no more be read as they came.
//!
//! Each name is replaced by a pseudonym that is the same wherever the name was, so that what belonged together still does and numbers
//! stay. It is made with a secret that nobody keeps. Files are written anew, a commit names the new ones, and the old ones go.

mod persons;

use crate::attributes::Kind;
use crate::engine::{Engine, MEMORY};
use crate::error::KpiError;
use crate::facts;
use crate::index;
use crate::privacy::Policy;
use crate::query::text_list;
use crate::raw::{self, KEYS, ROWS, RawPart, domain_name};
use crate::removal::{Removal, orphans};
use crate::rows::texts;
use crate::store::{CommitKind, EraseCommit, RawFile, State, Store, Table};
use persons::{Name, Persons};
use std::collections::{BTreeMap, BTreeSet};

/// Whose data are to be erased.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Accounts.
    pub accounts: &'a [String],
    /// Domains.
    pub domains: &'a [String],
    /// Policies for personal data that facts were imported with; at least one.
    pub policies: &'a [Policy],
    /// Why.
    pub reason: &'a str,
}

/// What an erasure has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Accounts and domains, with the domains that only these accounts have had.
    pub subjects: usize,
    /// Rows of facts and refused ones that have lost their names.
    pub facts: u64,
    /// Rows that can no more be read as they came.
    pub raw_rows: u64,
    /// Files of imports that are at work, or have ended without a commit less than a day ago. They may have what was to be erased.
    pub unsettled: usize,
}

/// Files that are written anew.
#[derive(Debug, Default)]
struct Rewritten {
    paths: BTreeMap<String, String>,
    facts: u64,
    raw_rows: u64,
}

/// Erases persons.
///
/// # Errors
/// The policy is another one, or the store cannot be read or written. What was decided before a file could not be removed is ended by
/// the next command.
pub async fn erase(store: &Store, request: &Request<'_>) -> Result<Erased, KpiError> {
    if request.reason.trim().is_empty() {
        return Err(KpiError::Usage("--reason is empty: say why, without the name".to_owned()));
    }
    let mut state = store.state().await?;
    loop {
        let persons = persons(store, &state, request).await?;
        let mut rewritten = Rewritten::default();
        let written = rewritten.write(store, &state, &persons, request.policies).await;
        if let Err(error) = written {
            rewritten.discard(store).await?;
            return Err(error);
        }
        let mut removed = state.discarded.clone();
        let mut unsettled = 0;
        let written: BTreeSet<&String> = rewritten.paths.values().collect();
        for folder in ["facts", ROWS, KEYS] {
            for (path, is_old) in orphans(store, &state, folder).await? {
                if is_old {
                    removed.insert(path);
                } else if !removed.contains(&path) && !written.contains(&path) {
                    unsettled += 1;
                }
            }
        }
        // It has hashes of names, and is made anew.
        let indices = store.list(index::FOLDER).await?;
        removed.extend(indices.iter().map(|file| store.path_of(&file.location)));
        let files = rewritten.paths.keys().chain(&removed).cloned().collect();
        let removal = Removal::announce(store, files).await?;
        let commit = EraseCommit {
            reason: request.reason.trim().to_owned(),
            subjects: persons.subjects.len(),
            facts: rewritten.facts,
            raw_rows: rewritten.raw_rows,
            replaced: rewritten.paths.clone(),
            removed,
            removal: removal.name.clone(),
        };
        let (subjects, facts, raw_rows) = (commit.subjects, commit.facts, commit.raw_rows);
        if store.commit(&mut state, CommitKind::Erase(commit)).await? {
            removal.end(store, &state).await?;
            return Ok(Erased { subjects, facts, raw_rows, unsettled });
        }
        removal.cancel(store).await?;
        rewritten.discard(store).await?;
        store.refresh(&mut state).await?;
    }
}

/// Finds the names of those who are to be erased: those that were given, their tokens, and the domains that no other account has had.
async fn persons(store: &Store, state: &State, request: &Request<'_>) -> Result<Persons, KpiError> {
    let (mut names, mut subjects, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    for account in request.accounts {
        subjects.push((Kind::Account, account.clone()));
        for policy in request.policies {
            accounts.extend(policy.forms(Kind::Account, account)?);
        }
    }
    names.extend(accounts.iter().cloned().map(Name::account));
    let mut domains: BTreeSet<String> = BTreeSet::new();
    for domain in request.domains {
        // Rows as they came may have it in Unicode.
        names.push(Name::domain(domain.trim_end_matches('.')));
        domains.insert(domain_name(domain));
    }
    domains.extend(domains_of(store, state, &accounts).await?);
    for domain in domains {
        for policy in request.policies {
            names
                .extend(policy.forms(Kind::Domain, &domain)?.iter().map(|name| Name::domain(name)));
        }
        subjects.push((Kind::Domain, domain));
    }
    Persons::new(names, subjects)
}

/// Domains of these accounts that no other account has had.
async fn domains_of(
    store: &Store,
    state: &State,
    accounts: &[String],
) -> Result<BTreeSet<String>, KpiError> {
    if accounts.is_empty() {
        return Ok(BTreeSet::new());
    }
    let engine = Engine::new(MEMORY)?;
    let files = state.files(Table::Events).collect();
    engine.register_facts(store, Table::Events, "facts", files).await?;
    let list = text_list(accounts);
    let sql = format!(
        "SELECT DISTINCT a.domain AS domain FROM (SELECT domain FROM facts WHERE account_id IN ({list}) \
         AND domain IS NOT NULL) AS a LEFT ANTI JOIN (SELECT domain FROM facts WHERE account_id NOT IN ({list})) AS b \
         ON a.domain = b.domain"
    );
    texts(&engine.query("domains of accounts", &sql).await?, "domain")
}

/// Opens rows as they came, with the policy that fits.
async fn open<'a>(
    store: &Store,
    file: &RawFile,
    policies: &'a [Policy],
) -> Result<(RawPart, &'a Policy), KpiError> {
    let (rows, keys) = (store.read(&file.rows).await?, store.read(&file.keys).await?);
    let mut problem = KpiError::Usage("no policy".to_owned());
    for policy in policies {
        match RawPart::decode(&file.rows, rows.clone(), &keys, policy) {
            Ok(part) => return Ok((part, policy)),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

impl Rewritten {
    /// Writes all files of imports without the names of persons.
    async fn write(
        &mut self,
        store: &Store,
        state: &State,
        persons: &Persons,
        policies: &[Policy],
    ) -> Result<(), KpiError> {
        for (_, _, import) in state.imports.values() {
            for file in &import.files {
                if !matches!(file.table, Table::Events | Table::Rejected | Table::Attributes) {
                    continue;
                }
                let bytes = store.read(&file.path).await?;
                let rows = facts::parquet_rows(&file.path, bytes, &facts::schema(file.table))?;
                if let Some((rows, number)) = persons.without_names(&rows, file.table)? {
                    self.facts += number;
                    self.replace(store, &file.path, facts::parquet(&rows)?).await?;
                }
            }
            for file in import.raw.iter().flat_map(|raw| &raw.files) {
                let (mut part, policy) = open(store, file, policies).await?;
                let erased = part.erase(&persons.subjects, |row| persons.are_in(row))?;
                if let Some(erased) = erased {
                    self.raw_rows += u64::try_from(erased).unwrap_or(u64::MAX);
                    let (rows, keys) = part.encode(policy)?;
                    self.replace(store, &file.rows, rows).await?;
                    self.replace(store, &file.keys, keys).await?;
                }
            }
        }
        Ok(())
    }

    async fn replace(&mut self, store: &Store, path: &str, bytes: Vec<u8>) -> Result<(), KpiError> {
        let mark = crate::input::hex(&raw::random::<4>()?);
        let new = match path.strip_suffix(".parquet") {
            Some(stem) => format!("{stem}-{mark}.parquet"),
            None => format!("{path}-{mark}"),
        };
        store.write(&new, bytes).await?;
        self.paths.insert(path.to_owned(), new);
        Ok(())
    }

    /// Removes what was written, where it does not count.
    async fn discard(&self, store: &Store) -> Result<(), KpiError> {
        for path in self.paths.values() {
            store.delete(path).await?;
        }
        Ok(())
    }
}
