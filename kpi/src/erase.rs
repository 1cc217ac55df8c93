//! Erasure of persons: their accounts and domains lose their names in all facts, and their rows can no more be read as they came.
//!
//! Each name is replaced by a pseudonym that is the same wherever the name was, so that what belonged together still does and numbers
//! stay. Files are written anew, a commit names the new ones, and the old ones go. What is known of erased events
//! ([`crate::tombstones`]) gives them the same pseudonyms when they are imported again.

mod persons;

use crate::attributes::Kind;
use crate::engine::{Engine, MEMORY};
use crate::error::KpiError;
use crate::facts;
use crate::index;
use crate::input::hex;
use crate::privacy::Policy;
use crate::query::text_list;
use crate::raw::{KEYS, ROWS, RawPart, domain_name, random};
use crate::removal::{Removal, orphans};
use crate::rows::texts;
use crate::store::{CommitKind, EraseCommit, FactFile, RawFile, State, Store, Table};
use crate::summary;
use crate::tombstones::{self, Tombstones};
use datafusion::arrow::array::RecordBatch;
use dnscribe_dns::to_unicode;
use persons::{Name, Persons, Replaced};
use std::collections::{BTreeMap, BTreeSet, HashSet};

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
    /// Accounts and domains that were asked for, and of which nothing was found.
    pub unknown: Vec<String>,
}

/// Whose data are to be erased, with what that needs.
struct Subjects {
    persons: Persons,
    /// Accounts and domains as rows have them that were not tokenised, with the number of the name that was asked for.
    all: Vec<(Kind, String, Option<usize>)>,
}

/// Files that are written anew.
#[derive(Debug, Default)]
struct Rewritten {
    paths: BTreeMap<String, String>,
    tombstones: Option<String>,
    facts: u64,
    raw_rows: u64,
}

/// Erases persons.
///
/// # Errors
/// A name is none, the policy is another one, or the store cannot be read or written. What was decided before a file could not be
/// removed is ended by the next command.
pub async fn erase(store: &Store, request: &Request<'_>) -> Result<Erased, KpiError> {
    if request.reason.trim().is_empty() {
        return Err(KpiError::Usage("--reason is empty: say why, without the name".to_owned()));
    }
    if request.accounts.iter().any(|account| account.trim().is_empty()) {
        return Err(KpiError::Usage("--account is empty".to_owned()));
    }
    let mut state = store.state().await?;
    loop {
        let mut subjects = subjects(store, &state, request).await?;
        let mut rewritten = Rewritten::default();
        let committed = rewritten.commit(store, &mut state, &mut subjects, request).await;
        if !matches!(committed, Ok(Some(_)) | Err(KpiError::Undecided { .. })) {
            store.discard(&state, rewritten.files().map(String::as_str)).await;
        }
        if let Some((removal, unsettled)) = committed? {
            removal.end(store, &state).await?;
            let Rewritten { facts, raw_rows, .. } = rewritten;
            let found = subjects.persons.found;
            let names = request.accounts.iter().chain(request.domains).enumerate();
            let unknown = names.filter(|(number, _)| !found.contains(number));
            let unknown = unknown.map(|(_, name)| name.clone()).collect();
            let subjects = subjects.all.len();
            return Ok(Erased { subjects, facts, raw_rows, unsettled, unknown });
        }
        store.refresh(&mut state).await?;
    }
}

/// Finds the names of those who are to be erased: those that were given, their tokens, and the domains that no other account has had.
async fn subjects(
    store: &Store,
    state: &State,
    request: &Request<'_>,
) -> Result<Subjects, KpiError> {
    let (mut names, mut all, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    for (number, account) in request.accounts.iter().enumerate() {
        all.push((Kind::Account, account.clone(), Some(number)));
        for policy in request.policies {
            accounts.extend(policy.forms(Kind::Account, account)?);
        }
        names.extend(accounts.drain(..).map(|account| Name::account(account, number)));
    }
    let accounts: Vec<String> = names.iter().map(|name: &Name| name.text().to_owned()).collect();
    let owned = domains_of(store, state, &accounts).await?;
    let mut domains: BTreeMap<String, Option<usize>> =
        owned.into_iter().map(|domain| (domain, None)).collect();
    for (number, domain) in (request.accounts.len()..).zip(request.domains) {
        domains.insert(domain_to_erase(domain)?, Some(number));
        names.push(Name::domain(domain.trim().trim_end_matches('.'), Some(number)));
    }
    for (domain, number) in domains {
        // Keys, and rows as they came, may have it in Unicode.
        names.extend(to_unicode(&domain).map(|name| Name::domain(&name, number)));
        for policy in request.policies {
            let forms = policy.forms(Kind::Domain, &domain)?;
            names.extend(forms.iter().map(|name| Name::domain(name, number)));
        }
        all.push((Kind::Domain, domain, number));
    }
    let tombstones = Tombstones::read(store, state.tombstones.as_deref()).await?;
    let tombstones = tombstones.map_or_else(Tombstones::new, Ok)?;
    Ok(Subjects { persons: Persons::new(names, tombstones), all })
}

/// Returns a domain as facts have it. A single label would be found in the domains of others.
fn domain_to_erase(text: &str) -> Result<String, KpiError> {
    let name = domain_name(text.trim());
    let is_wrong = |letter: char| letter.is_whitespace() || letter.is_control();
    if name.is_ascii()
        && !name.contains(is_wrong)
        && name.contains('.')
        && name.split('.').all(|label| !label.is_empty())
    {
        return Ok(name);
    }
    let problem = "give a domain with two labels or more, such as shop.example";
    Err(KpiError::Usage(format!("--domain \"{text}\": {problem}")))
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

/// Opens rows as they came, with the policy that fits; none if their keys are lost, since nobody can read them any more.
async fn open<'a>(
    store: &Store,
    file: &RawFile,
    policies: &'a [Policy],
) -> Result<Option<(RawPart, &'a Policy)>, KpiError> {
    let Some(keys) = store.read_if_there(&file.keys).await? else {
        tracing::warn!("{} is lost: nobody can read the rows of {} any more", file.keys, file.rows);
        return Ok(None);
    };
    // There may be a copy of the rows, and so their keys are destroyed.
    let rows = store.read_if_there(&file.rows).await?;
    if rows.is_none() {
        tracing::warn!("{} is lost: nobody can read these rows any more", file.rows);
    }
    let mut problem = KpiError::Usage("no policy".to_owned());
    for policy in policies {
        let part = match rows.clone() {
            Some(rows) => RawPart::decode(&file.rows, rows, &keys, policy),
            None => RawPart::without_rows(&file.rows, &keys, policy),
        };
        match part {
            Ok(part) => return Ok(Some((part, policy))),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// Reads facts that may have names.
async fn rows_of(store: &Store, file: &FactFile) -> Result<Option<RecordBatch>, KpiError> {
    if !matches!(file.table, Table::Events | Table::Rejected | Table::Attributes) {
        return Ok(None);
    }
    let bytes = store.read(&file.path).await?;
    facts::parquet_rows(&file.path, bytes, &facts::schema(file.table)).map(Some)
}

impl Rewritten {
    /// Writes all files of imports without the names of persons, and commits them. Returns the removal of the old ones, with the number of
    /// unsettled files; nothing if another program has made a commit.
    async fn commit(
        &mut self,
        store: &Store,
        state: &mut State,
        subjects: &mut Subjects,
        request: &Request<'_>,
    ) -> Result<Option<(Removal, usize)>, KpiError> {
        self.write(store, state, subjects, request.policies).await?;
        let mut removed = state.discarded.clone();
        let mut unsettled = 0;
        let written: BTreeSet<&String> = self.files().collect();
        if self.tombstones.is_some() {
            removed.extend(state.tombstones.clone());
        }
        for folder in ["facts", ROWS, KEYS, tombstones::FOLDER] {
            for (path, is_old) in orphans(store, state, folder).await? {
                if is_old {
                    removed.insert(path);
                } else if !removed.contains(&path) && !written.contains(&path) {
                    unsettled += 1;
                }
            }
        }
        // They have hashes of names, or texts of refused rows, and are made anew.
        for folder in [index::FOLDER, summary::FOLDER] {
            let files = store.list(folder).await?;
            removed.extend(files.iter().map(|file| store.path_of(&file.location)));
        }
        let files = self.paths.keys().chain(&removed).cloned().collect();
        let removal = Removal::announce(store, files).await?;
        let commit = EraseCommit {
            reason: request.reason.trim().to_owned(),
            subjects: subjects.all.len(),
            facts: self.facts,
            raw_rows: self.raw_rows,
            replaced: self.paths.clone(),
            tombstones: self.tombstones.clone(),
            removed,
            removal: removal.name.clone(),
        };
        if store.commit(state, CommitKind::Erase(commit)).await? {
            return Ok(Some((removal, unsettled)));
        }
        removal.cancel(store).await?;
        Ok(None)
    }

    /// Writes all files of imports without the names of persons.
    async fn write(
        &mut self,
        store: &Store,
        state: &State,
        subjects: &mut Subjects,
        policies: &[Policy],
    ) -> Result<(), KpiError> {
        let persons = &mut subjects.persons;
        let known = persons.tombstones.clone();
        for file in state.imports.values().flat_map(|(_, _, import)| &import.files) {
            if let Some(rows) = rows_of(store, file).await? {
                persons.learn(&rows, file.table)?;
            }
        }
        for (_, _, import) in state.imports.values() {
            let mut changed = HashSet::new();
            for file in &import.files {
                let Some(rows) = rows_of(store, file).await? else { continue };
                if let Some(Replaced { rows, lines }) = persons.without_names(&rows, file.table)? {
                    self.facts += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                    self.replace(store, &file.path, facts::parquet(&rows)?).await?;
                    changed.extend(lines);
                }
            }
            for file in import.raw.iter().flat_map(|raw| &raw.files) {
                let Some((mut part, policy)) = open(store, file, policies).await? else { continue };
                let mut is_changed = false;
                for (kind, value, number) in &subjects.all {
                    if part.destroy(*kind, value) {
                        is_changed = true;
                        persons.found.extend(number);
                    }
                }
                let erased = part.erase(|line, row| changed.contains(&line) || persons.are_in(row));
                let erased = erased.map_err(|error| KpiError::store(&file.rows, &error))?;
                if is_changed || erased > 0 {
                    self.raw_rows += u64::try_from(erased).unwrap_or(u64::MAX);
                    let (rows, keys) = part.encode(policy)?;
                    self.replace(store, &file.rows, rows).await?;
                    self.replace(store, &file.keys, keys).await?;
                }
            }
        }
        if persons.tombstones != known {
            let path = format!("{}/{}", tombstones::FOLDER, hex(&random::<8>()?));
            self.tombstones = Some(path.clone());
            store.write(&path, persons.tombstones.encode()).await?;
        }
        Ok(())
    }

    async fn replace(&mut self, store: &Store, path: &str, bytes: Vec<u8>) -> Result<(), KpiError> {
        let mark = hex(&random::<4>()?);
        let new = match path.strip_suffix(".parquet") {
            Some(stem) => format!("{stem}-{mark}.parquet"),
            None => format!("{path}-{mark}"),
        };
        self.paths.insert(path.to_owned(), new.clone());
        store.write(&new, bytes).await
    }

    /// Paths of the files that were written.
    fn files(&self) -> impl Iterator<Item = &String> {
        self.paths.values().chain(&self.tombstones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_that_would_be_found_in_others_are_refused() {
        for (text, expected) in [
            (" Bruno.de. ", "bruno.de"),
            ("München.de", "xn--mnchen-3ya.de"),
            ("a.b.example", "a.b.example"),
        ] {
            assert_eq!(domain_to_erase(text).unwrap(), expected);
        }
        for text in ["", " ", ".", "info", "info.", ".info", "a..de", "bruno .de", "\u{378}.de"] {
            assert!(domain_to_erase(text).is_err(), "{text:?}");
        }
    }
}
