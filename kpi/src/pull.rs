//! Pulls: what a declared source has had since the last pull, at an HTTP API or in S3-compatible storage, is imported.
//!
//! The commit of an import holds the position up to which its source was read, together with its facts. So a pull that
//! fails, or is killed, changes nothing, and the next one asks for the same rows again.

pub mod http;

use crate::error::KpiError;
use crate::import::{self, Imported, Request};
use crate::input::Format;
use crate::mapping::Mapping;
use crate::privacy::Policy;
use crate::scratch::ScratchFile;
use crate::sources::{Pull, Source, Sources};
use crate::store::{self, Store};
use dnscribe_delivery::KafkaConfig;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Position;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;
use std::io::Write as _;

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
        let known = known.remove(&key).filter(|_| !self.is_restart);
        let known = known.map(|text| Position::parse(&Value::String(text))).transpose();
        let known = known.map_err(|why| KpiError::store(&name, &why))?;
        let fetched = tokio::task::block_in_place(|| http::fetch(pull, known))?;
        if fetched.is_empty {
            return Ok(());
        }
        let request = Request {
            name: &name,
            format: pull.rows.as_ref().map(|_| Format::Json),
            position: fetched.position.map(|position| position.to_string()),
            ..request.clone()
        };
        let imported = import::import(self.store, fetched.file.path(), &request).await?;
        each(&name, &imported);
        Ok(())
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
        for object in found.iter().filter(|object| object.size > 0) {
            let name = format!("s3://{bucket}/{}", object.location);
            let version = object.e_tag.clone();
            let version = version.unwrap_or_else(|| object.last_modified.to_rfc3339());
            if !self.is_restart
                && known.get(&(request.source.to_owned(), name.clone())) == Some(&version)
            {
                continue;
            }
            let fail = |error: KpiError| KpiError::Failed(format!("{name}: {error}"));
            let file = downloaded(&objects, object).await.map_err(fail)?;
            let request = Request { name: &name, position: Some(version), ..request.clone() };
            let imported = import::import(self.store, file.path(), &request).await;
            each(&name, &imported.map_err(fail)?);
        }
        Ok(())
    }
}

async fn downloaded(
    objects: &impl ObjectStore,
    object: &ObjectMeta,
) -> Result<ScratchFile, KpiError> {
    let fail = |error: object_store::Error| KpiError::Failed(error.to_string());
    let mut file = ScratchFile::new()?;
    let found = objects.get(&object.location).await.map_err(fail)?;
    let mut content = found.into_stream();
    while let Some(chunk) = content.next().await {
        file.write_all(&chunk.map_err(fail)?).map_err(KpiError::temporary)?;
    }
    file.flush().map_err(KpiError::temporary)?;
    Ok(file)
}
