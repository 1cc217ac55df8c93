//! Storage with faults, and what commands leave behind there.

use super::Store;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt::{Display, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What goes wrong.
#[derive(Debug)]
enum Fault {
    /// Answers to new commits are lost, and so the client sends them once more.
    Repeated,
    /// Answers to new commits are lost for good.
    Lost,
    /// Another program makes this commit first.
    Overtaken(Mutex<Option<String>>),
    /// No file can be written whose path has this text.
    Full(&'static str),
}

/// A folder with a fault.
#[derive(Debug)]
struct Faulty {
    folder: LocalFileSystem,
    fault: Fault,
}

impl Display for Faulty {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} with a fault", self.folder)
    }
}

impl Faulty {
    async fn put(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let failure = || Error::Generic { store: "faulty", source: "no answer".into() };
        let is_commit = options.mode == PutMode::Create;
        let put = || self.folder.put_opts(location, payload.clone(), options.clone());
        match &self.fault {
            Fault::Full(part) if location.as_ref().contains(part) => return Err(failure()),
            Fault::Repeated if is_commit => drop(put().await?),
            Fault::Lost if is_commit => {
                put().await?;
                return Err(failure());
            }
            Fault::Overtaken(commit) if is_commit => {
                let other = commit.lock().unwrap().take();
                if let Some(other) = other {
                    self.folder.put_opts(location, other.into(), options.clone()).await?;
                }
            }
            _ => {}
        }
        put().await
    }
}

// What `async_trait` would make of it.
impl ObjectStore for Faulty {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.put(location, payload, options))
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        options: PutMultipartOptions,
    ) -> BoxFuture<'c, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.folder.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b ObjectPath,
        options: GetOptions,
    ) -> BoxFuture<'c, Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.folder.get_opts(location, options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        self.folder.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.folder.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b ObjectPath>,
    ) -> BoxFuture<'c, Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.folder.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b ObjectPath,
        to: &'d ObjectPath,
        options: CopyOptions,
    ) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.folder.copy_opts(from, to, options)
    }
}

/// Opens a folder whose storage has a fault.
fn faulty(folder: &Path, fault: Fault) -> Store {
    let store = Store::open(folder.to_str().unwrap()).unwrap();
    let folder = LocalFileSystem::new_with_prefix(folder.canonicalize().unwrap()).unwrap();
    Store { objects: Arc::new(Faulty { folder, fault }), ..store }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erase::{self, Erased, erase};
    use crate::error::KpiError;
    use crate::facts;
    use crate::import::again::{Again, again};
    use crate::import::undo::undo;
    use crate::import::{Imported, Request, import};
    use crate::input;
    use crate::mapping::Mapping;
    use crate::privacy::Policy;
    use crate::removal;
    use crate::rows::Columns;
    use crate::sources::Sources;
    use crate::store::{State, Table};
    use serde_json::json;
    use std::collections::BTreeSet;

    const ROWS: &str = "Order,Kind,When,Domain\nbruno.de-1,NEW,2026-03-01T10:00:00Z,bruno.de\n\
        2,OLD,2026-03-01T11:00:00Z,anna.de\n3,?,2026-03-01T11:00:00Z,anna.de\n";
    const AT: &str = "2026-11-24T08:00:00Z";

    fn mapping(old: &str) -> Mapping {
        let text = format!(
            "version: 1\ncolumns: {{ business_key: Order, event_type: Kind, event_ts: When, domain: Domain }}\n\
             values: {{ event_type: {{ NEW: registration_completed, OLD: {old} }} }}\n"
        );
        Mapping::parse(&text).unwrap()
    }

    /// Imports the rows as a file, or as messages of a topic.
    async fn import_rows(
        store: &Store,
        folder: &Path,
        next: Option<i64>,
    ) -> Result<Imported, KpiError> {
        let file = folder.join("orders.csv");
        std::fs::write(&file, ROWS).unwrap();
        let (policy, sources, mapping) =
            (Policy::default(), Sources::default(), mapping("deleted"));
        let request = Request {
            mapping: Some(&mapping),
            offsets: next.map(|next| (0, next)).into_iter().collect(),
            ..Request::new("orders.csv", &policy, &sources)
        };
        import(store, &file, &request).await
    }

    async fn read_again(store: &Store) -> Result<Again, KpiError> {
        let map = mapping("expired");
        again(store, "orders.csv", Some(&map), (&Policy::default(), &Sources::default()), "r").await
    }

    async fn erase_bruno(store: &Store) -> Result<Erased, KpiError> {
        let (domains, policies) = (["bruno.de".to_owned()], [Policy::default()]);
        let request =
            erase::Request { accounts: &[], domains: &domains, policies: &policies, reason: "r" };
        erase(store, &request).await
    }

    /// Files that imports, erasures and removals have written.
    async fn files(store: &Store) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        for folder in ["facts", "raw", "raw-keys", "erased", "removing"] {
            let found = store.list(folder).await.unwrap();
            files.extend(found.iter().map(|file| store.path_of(&file.location)));
        }
        files
    }

    async fn named_files(store: &Store) -> BTreeSet<String> {
        store.state().await.unwrap().paths().into_iter().map(str::to_owned).collect()
    }

    async fn domains(store: &Store, state: &State) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for file in state.files(Table::Events) {
            let bytes = store.read(&file.path).await.unwrap();
            let rows = facts::parquet_rows(&file.path, bytes, &facts::schema(file.table)).unwrap();
            let domains = Columns(&rows).texts("domain").unwrap();
            found.extend(domains.iter().flatten().map(str::to_owned));
        }
        found
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
    }

    #[test]
    fn commits_whose_answers_are_lost_count() {
        for fault in [Fault::Repeated, Fault::Lost] {
            let folder = tempfile::tempdir().unwrap();
            let store = faulty(folder.path(), fault);
            runtime().block_on(async {
                let imported = import_rows(&store, folder.path(), None).await.unwrap();
                assert!(matches!(imported, Imported::Added(_)), "{imported:?}");
                assert_eq!(files(&store).await, named_files(&store).await);
                assert!(read_again(&store).await.unwrap().is_changed);
                assert!(files(&store).await.is_superset(&named_files(&store).await));
                assert_eq!(erase_bruno(&store).await.unwrap().facts, 1);
                assert_eq!(files(&store).await, named_files(&store).await);
                let state = store.state().await.unwrap();
                let domains = domains(&store, &state).await;
                assert!(domains.len() == 2 && !domains.contains("bruno.de"), "{domains:?}");
                assert!(removal::expire(&store, 0).await.unwrap() > 0);
                let left = files(&store).await;
                assert_eq!(left, named_files(&store).await);
                assert!(!left.iter().any(|path| path.starts_with("raw")), "{left:?}");
                let sha256 = state.imports.keys().next().unwrap();
                undo(&store, sha256, None, "r").await.unwrap();
                let state = store.state().await.unwrap();
                assert!(state.imports.is_empty() && state.number == 5, "{}", state.number);
            });
        }
    }

    #[test]
    fn imports_that_fail_leave_no_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orders.csv");
        std::fs::write(&file, ROWS).unwrap();
        let sha256 = mapping("deleted").identity(&input::digest(&file).unwrap().sha256);
        let commit = |kind: serde_json::Value| {
            let mut commit = json!({"at": AT, "nonce": "5e"});
            commit.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            Fault::Overtaken(Mutex::new(Some(commit.to_string())))
        };
        let imported = |sha256: &str, next: i64| {
            commit(
                json!({"import": {"sha256": sha256, "source": "orders.csv", "name": "orders.csv", "bytes": 1,
                "rows": 1, "accepted": 1, "skipped": 0, "rejected": {}, "filled": {}, "unknown_types": {},
                "newest": null, "files": [], "offsets": {"0": next}}}),
            )
        };
        let erased =
            commit(json!({"erase": {"reason": "r", "subjects": 1, "facts": 0, "raw_rows": 0,
            "replaced": {}, "tombstones": "erased/5e", "removed": [], "removal": "5e"}}));
        for (number, (fault, next, expected)) in [
            (erased, None, "persons were erased meanwhile"),
            (imported("5e", 4), Some(5), "was imported meanwhile"),
            // Another program has imported the same file.
            (imported(&sha256, 4), None, ""),
            (Fault::Full("facts/rejected"), None, "nothing was committed"),
            (Fault::Full("raw/"), None, "nothing was committed"),
        ]
        .into_iter()
        .enumerate()
        {
            let data = folder.path().join(number.to_string());
            std::fs::create_dir(&data).unwrap();
            let store = faulty(&data, fault);
            runtime().block_on(async {
                match import_rows(&store, folder.path(), next).await {
                    Ok(Imported::Already(_)) => assert_eq!(expected, ""),
                    Ok(imported) => unreachable!("{imported:?}"),
                    Err(error) => assert!(error.to_string().contains(expected), "{error}"),
                }
                assert_eq!(files(&store).await, BTreeSet::new(), "{expected}");
            });
        }
    }

    #[test]
    fn what_fails_later_leaves_the_files_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = Store::open(data.to_str().unwrap()).unwrap();
        runtime().block_on(async {
            import_rows(&store, folder.path(), None).await.unwrap();
            let before = files(&store).await;
            for part in ["facts/rejected", "facts/events"] {
                read_again(&faulty(&data, Fault::Full(part))).await.unwrap_err();
                assert_eq!(files(&store).await, before, "{part}");
            }
            for part in ["facts/events", "raw-keys/", "erased/", "removing/"] {
                erase_bruno(&faulty(&data, Fault::Full(part))).await.unwrap_err();
                assert_eq!(files(&store).await, before, "{part}");
            }
            // Nobody knows whether the storage has the commit: it may name these files.
            let error = read_again(&faulty(&data, Fault::Full("log/"))).await.unwrap_err();
            assert!(matches!(error, KpiError::Undecided { .. }), "{error}");
            assert!(files(&store).await.len() > before.len());
            let said = json!({"at": AT, "delivered": {"source": "s", "day": "2026-03-01"}});
            let fault = Fault::Overtaken(Mutex::new(Some(said.to_string())));
            assert_eq!(erase_bruno(&faulty(&data, fault)).await.unwrap().facts, 1);
            assert!(files(&store).await.is_superset(&named_files(&store).await));
            let names = domains(&store, &store.state().await.unwrap()).await;
            assert!(!names.contains("bruno.de"), "{names:?}");
        });
    }
}
