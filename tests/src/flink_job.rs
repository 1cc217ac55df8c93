//! A single job of `dnscribe-stream.jar` with a configuration of its own, on a running stack.

use crate::stack::flink::Submission;
use crate::stack::{Stack, jobs};
use crate::{http, shell};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Time limit for the end of a canceled job, on a busy machine.
const END: Duration = Duration::from_mins(1);

/// A submitted job. It ends with its value: else a failed test would leave its jobs to the next.
#[derive(Debug)]
pub struct FlinkJob {
    address: SocketAddr,
    id: String,
    reporters: Vec<String>,
}

impl FlinkJob {
    /// Like [`FlinkJob::submit_all`], with one job.
    pub fn submit(stack: &Stack, folder: &Path, name: &str, config: &Value) -> Result<Self> {
        Self::submit_all(stack, folder, &[name], config)?.pop().context("no job")
    }

    /// Creates the topics and tables of a configuration and submits jobs of the jar with it. The
    /// configuration is written to `folder`.
    pub fn submit_all(
        stack: &Stack,
        folder: &Path,
        names: &[&str],
        config: &Value,
    ) -> Result<Vec<Self>> {
        let jar = jobs::build()?;
        let file = folder.join("stream.yaml");
        // JSON is YAML.
        fs::write(&file, serde_json::to_string_pretty(config)?)?;
        jobs::prepare(&file)?;
        let file = file.to_str().context("a path that is not UTF-8")?;
        let flink = stack.flink()?;
        let submit = |name: &&str| {
            let program_args_list = jobs::arguments(name, file);
            let run = Submission { program_args_list, ..Submission::default() };
            let id = flink.submit(&jar, &run)?;
            Ok(Self { address: flink.address(), id, reporters: flink.metrics() })
        };
        names.iter().map(submit).collect()
    }

    /// Returns the number of records that an operator has passed on so far; 0 before it runs.
    pub fn records_out(&self, operator: &str) -> Result<u64> {
        let name = "flink_taskmanager_job_task_operator_numRecordsOut{";
        let operator = format!("operator_name=\"{operator}\"");
        let job = format!("job_id=\"{}\"", self.id);
        let mut sum = 0.0;
        for reporter in &self.reporters {
            let Ok((200, text)) = http::get(reporter.parse()?, None, "/metrics") else { continue };
            for line in text.lines().filter(|line| line.starts_with(name)) {
                if line.contains(&operator) && line.contains(&job) {
                    let value = line.rsplit(' ').next().context("no value")?;
                    sum += value.parse::<f64>()?;
                }
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
        Ok(sum as u64)
    }

    /// Returns the newest completed checkpoint as Flink describes it; `None` before the first.
    pub fn last_checkpoint(&self) -> Result<Option<Value>> {
        let path = format!("/jobs/{}/checkpoints", self.id);
        let (_, text) = http::get(self.address, None, &path)?;
        let all: Value = serde_json::from_str(&text)?;
        Ok(Some(all["latest"]["completed"].clone()).filter(|one| !one.is_null()))
    }

    /// Returns an error if the job has failed or restarts.
    pub fn check(&self) -> Result<()> {
        let (_, text) = http::get(self.address, None, &format!("/jobs/{}", self.id))?;
        let job: Value = serde_json::from_str(&text)?;
        let state = job["state"].as_str().unwrap_or_default();
        ensure!(!matches!(state, "FAILED" | "FAILING" | "RESTARTING"), "the job is {state}");
        Ok(())
    }

    fn request_end(&self) -> Result<()> {
        let path = format!("/jobs/{}?mode=cancel", self.id);
        let answer = http::send(self.address, "PATCH", &path, "", b"")?;
        ensure!(answer.status < 300, "cannot cancel the job: {}", answer.body);
        Ok(())
    }

    /// Cancels the job and waits for its end.
    pub fn cancel(self) -> Result<()> {
        self.request_end()?;
        shell::wait_for("the end of a canceled job", END, || {
            let (_, text) = http::get(self.address, None, &format!("/jobs/{}", self.id))?;
            let job: Value = serde_json::from_str(&text)?;
            Ok((job["state"] == "CANCELED").then_some(()))
        })
    }
}

impl Drop for FlinkJob {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.request_end();
    }
}
