//! Pulls: what a declared source has had since the last pull, at an HTTP API or in S3-compatible storage, is imported.
//!
//! The commit of an import holds the position up to which its source was read, together with its facts. So a pull that
//! fails, or is killed, changes nothing, and the next one asks for the same rows again.

mod delivered;
pub mod http;

use crate::error::KpiError;
use crate::import::{self, Imported, Request, position};
use crate::input::{Format, hex};
use crate::mapping::Mapping;
use crate::privacy::Policy;
use crate::scratch::ScratchFile;
use crate::sources::{Pull, Source, Sources};
use crate::store::{self, ImportCommit, Store};
use delivered::DeliveredRows;
use dnscribe_delivery::KafkaConfig;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Position;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

/// Folder of the rows that sources have delivered.
const DELIVERED: &str = "pulls";

/// Position of a source without `since`.
const NO_POSITION: &str = "-";

/// What all pulls of a command have in common.
#[derive(Clone, Copy)]
pub struct Puller<'a> {
    /// Store that the rows go to.
    pub store: &'a Store,
    /// Sources that are declared.
    pub sources: &'a Sources,
    /// What becomes of personal data.
    pub policy: &'a Policy,
    /// Kafka that refused rows go to as dead letters, too.
    pub dead_letters: Option<&'a KafkaConfig>,
    /// Whether all is asked for again.
    pub is_restart: bool,
}

impl Puller<'_> {
    /// Pulls a source, and passes each import with its name to `each`.
    ///
    /// # Errors
    /// The source cannot be read, or the store cannot be written. What was passed before has been imported.
    pub async fn pull(
        &self,
        source: &Source,
        pull: &Pull,
        mut each: impl FnMut(&str, &Imported),
    ) -> Result<(), KpiError> {
        let mapping = pull.map.as_deref().map(Mapping::read).transpose()?;
        let request = Request {
            source: &source.name,
            is_named: true,
            mapping: mapping.as_ref(),
            dead_letters: self.dead_letters,
            ..Request::new("", self.policy, self.sources)
        };
        match pull.url.strip_prefix("s3://") {
            Some(place) => self.objects(place, &request, &mut each).await,
            None => self.answers(pull, &request, &mut each).await,
        }
    }

    /// Imports the rows of all answers as one file.
    async fn answers(
        &self,
        pull: &Pull,
        request: &Request<'_>,
        each: &mut impl FnMut(&str, &Imported),
    ) -> Result<(), KpiError> {
        let name = http::without_secrets(&pull.url);
        let mut known = self.store.state().await?.positions;
        let key = (request.source.to_owned(), name.clone());
        let earlier_position = known.remove(&key);
        let known = earlier_position.clone().filter(|_| !self.is_restart);
        // Behind the position is the file with the rows that the overlap may bring again; former versions had none.
        let known = known.unwrap_or_else(|| NO_POSITION.to_owned());
        let (known, path) = known.split_once(' ').unwrap_or((&known, ""));
        let known = Some(known).filter(|known| *known != NO_POSITION);
        let known = known.map(|text| Position::parse(&Value::from(text))).transpose();
        let known = known.map_err(|why| KpiError::store(&name, &why))?;
        let delivered = self.delivered(path).await?;
        let fetched = tokio::task::block_in_place(|| http::fetch(pull, known, delivered))?;
        if fetched.is_empty {
            return Ok(());
        }
        let folder = Sha256::digest(format!("{}\n{name}", request.source));
        let folder = format!("{DELIVERED}/{}", hex(&folder[..8]));
        let position = match &pull.rows {
            Some(_) => {
                let text = fetched.delivered.text().into_bytes();
                let path = self.store.write_hashed(&folder, "txt", text).await?;
                let position = fetched.position.map(|position| position.to_string());
                Some(format!("{} {path}", position.as_deref().unwrap_or(NO_POSITION)))
            }
            None => None,
        };
        let request = Request {
            name: &name,
            format: pull.rows.as_ref().map(|_| Format::Json),
            position,
            earlier_position,
            ..request.clone()
        };
        let imported = self.import(&fetched.file, &request).await?;
        each(&name, &imported);
        if let Imported::Added(ImportCommit { position: Some(position), .. }) = &imported {
            for file in self.store.files(&folder).await {
                if !position.ends_with(&self.store.path_of(&file)) {
                    self.store.remove(&file).await;
                }
            }
        }
        Ok(())
    }

    /// Imports a fetched file. Errors name where it is from.
    async fn import(
        &self,
        file: &ScratchFile,
        request: &Request<'_>,
    ) -> Result<Imported, KpiError> {
        let imported = import::import(self.store, file.path(), request).await;
        let imported = imported.map_err(|error| error.renamed(file.path(), request.name))?;
        if let Imported::Already(_) = imported {
            position::record(self.store, request).await?;
        }
        Ok(imported)
    }

    /// Reads the rows that a source has delivered; none if there is no file of them.
    async fn delivered(&self, path: &str) -> Result<DeliveredRows, KpiError> {
        if path.is_empty() {
            return Ok(DeliveredRows::default());
        }
        let Some(bytes) = self.store.read_if_there(path).await? else {
            return Ok(DeliveredRows::default());
        };
        let intact = store::undamaged(path, bytes).await.ok();
        let text = intact.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let rows = text.and_then(DeliveredRows::parse);
        rows.ok_or_else(|| KpiError::store(path, "damaged: pull --from-beginning"))
    }

    /// Imports each object that was not imported before, the oldest first.
    async fn objects(
        &self,
        place: &str,
        request: &Request<'_>,
        each: &mut impl FnMut(&str, &Imported),
    ) -> Result<(), KpiError> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let objects = store::bucket(bucket)?;
        let fail = |error: object_store::Error| KpiError::Failed(format!("s3://{bucket}: {error}"));
        let prefix = ObjectPath::from(prefix);
        let mut found: Vec<ObjectMeta> =
            objects.list(Some(&prefix)).try_collect().await.map_err(fail)?;
        found.sort_by(|one, other| {
            (one.last_modified, &one.location).cmp(&(other.last_modified, &other.location))
        });
        let known = self.store.state().await?.positions;
        let mut refused = 0;
        for object in found.iter().filter(|object| object.size > 0) {
            let name = format!("s3://{bucket}/{}", object.location);
            let version = object.e_tag.clone();
            let version = version.unwrap_or_else(|| object.last_modified.to_rfc3339());
            let earlier_position = known.get(&(request.source.to_owned(), name.clone())).cloned();
            if !self.is_restart && earlier_position.as_ref() == Some(&version) {
                continue;
            }
            let position = Some(version);
            let request = Request { name: &name, position, earlier_position, ..request.clone() };
            let imported = match downloaded(&objects, object, &name).await {
                Ok(file) => self.import(&file, &request).await,
                Err(error) => Err(error),
            };
            match imported {
                Ok(imported) => each(&name, &imported),
                // What is wrong with one object keeps no others away.
                Err(KpiError::Usage(problem)) => {
                    tracing::error!("{}: {problem}", request.source);
                    refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if refused == 0 {
            return Ok(());
        }
        Err(KpiError::Failed(format!("{refused} objects cannot be imported; all others are")))
    }
}

async fn downloaded(
    objects: &impl ObjectStore,
    object: &ObjectMeta,
    name: &str,
) -> Result<ScratchFile, KpiError> {
    let fail = |error: object_store::Error| {
        let problem = format!("{name}: {error}");
        match error {
            // The storage cannot be reached, or does not know us.
            object_store::Error::Generic { .. } | object_store::Error::Unauthenticated { .. } => {
                KpiError::Failed(problem)
            }
            _ => KpiError::Usage(problem),
        }
    };
    // Its version is recorded as that of the listing: another one, or a part, would be missed for ever.
    let changed = || KpiError::Usage(format!("{name}: is not as it was listed: pull it again"));
    let mut file = ScratchFile::new()?;
    let found = objects.get(&object.location).await.map_err(fail)?;
    if found.meta.e_tag.is_some() && object.e_tag.is_some() && found.meta.e_tag != object.e_tag {
        return Err(changed());
    }
    let (mut content, mut bytes) = (found.into_stream(), 0);
    while let Some(chunk) = content.next().await {
        let chunk = chunk.map_err(fail)?;
        bytes += chunk.len() as u64;
        file.write_all(&chunk).map_err(KpiError::temporary)?;
    }
    if bytes != object.size {
        return Err(changed());
    }
    file.flush().map_err(KpiError::temporary)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn objects_that_are_not_as_they_were_listed_are_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (objects, place) = (InMemory::new(), ObjectPath::from("a.ndjson"));
            objects.put(&place, "{\"a\":1}".into()).await.unwrap();
            let listed = objects.head(&place).await.unwrap();
            let file = downloaded(&objects, &listed, "s3://b/a").await.unwrap();
            assert_eq!(std::fs::read(file.path()).unwrap(), b"{\"a\":1}");
            let longer = ObjectMeta { size: listed.size + 1, ..listed.clone() };
            objects.put(&place, "{\"a\":2}".into()).await.unwrap();
            let current = objects.head(&place).await.unwrap();
            let shorter = ObjectMeta { size: current.size - 1, ..current };
            for object in [listed, longer, shorter] {
                let problem = downloaded(&objects, &object, "s3://b/a").await.err().unwrap();
                assert!(matches!(problem, KpiError::Usage(_)), "{problem}");
                assert_eq!(problem.to_string(), "s3://b/a: is not as it was listed: pull it again");
            }
        });
    }
}
