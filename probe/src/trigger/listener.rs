//! Reads alerts and changes from Kafka as they arrive.

use super::TriggeringAlert;
use crate::verdict::Change;
use dnscribe_delivery::kafka::{RecordDecoder, follow};
use dnscribe_delivery::{KafkaConfig, Stream};
use dnscribe_record::time::Timestamp;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver};

/// Topic of changes, after the configured prefix.
const CHANGES: &str = "dns.changes";
/// Changes this old are read at the start: those that may still explain or mute something.
const CHANGES_SINCE: Duration = Duration::from_hours(24);
/// Most notices that wait to be taken.
const QUEUE: usize = 256;

/// What arrived.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An alert.
    Alert(Box<TriggeringAlert>),
    /// A change.
    Change(Box<Change>),
}

/// A thread that follows the topics until it is dropped.
#[derive(Debug)]
pub struct Listener {
    stop: Arc<AtomicBool>,
}

impl Listener {
    /// Starts to follow the topic of alerts from now on, and that of changes from a day ago.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(kafka: &KafkaConfig) -> io::Result<(Self, Receiver<Notice>)> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let (kafka, stopped) = (kafka.clone(), Arc::clone(&stop));
        thread::Builder::new().name("listener".to_owned()).spawn(move || {
            let now = Timestamp::now();
            let changes = format!("{}{CHANGES}", kafka.topic_prefix);
            let topics = [
                (changes.clone(), now.minus(CHANGES_SINCE)),
                (kafka.topic(Stream::Alerts).to_owned(), now),
            ];
            let mut decoder = RecordDecoder::new(&kafka);
            let result = follow(&kafka, &topics, &stopped, &mut |topic, value| {
                let notice = if topic == changes {
                    read(Ok(value)).map(Notice::Change)
                } else {
                    read(decoder.decode(value)).map(Notice::Alert)
                };
                let sent = match notice {
                    Ok(notice) => sender.blocking_send(notice).is_ok(),
                    Err(why) => {
                        tracing::warn!("ignoring a record of {topic}: {why}");
                        true
                    }
                };
                if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if let Err(why) = result {
                tracing::warn!("alerts and changes are not read from Kafka: {why}");
            }
        })?;
        Ok((Self { stop }, receiver))
    }
}

/// Stops the thread, within half a second once it is connected. One that waits for a broker ends with the
/// process.
impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read<T: serde::de::DeserializeOwned>(json: Result<&[u8], String>) -> Result<Box<T>, String> {
    serde_json::from_slice(json?).map(Box::new).map_err(|error| error.to_string())
}
