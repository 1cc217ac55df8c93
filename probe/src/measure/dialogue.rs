//! A dialogue with a server, in lines: greetings, commands and replies.

use super::{Failure, Stage, printable};
use crate::target::DialogueStep;
use dnscribe_record::Labels;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::time::{Instant, timeout_at};

/// Most bytes that a server may say in a dialogue.
const MAX_BYTES: u64 = 64 << 10;
/// Most bytes of the server's last line in the detail of a failure.
const SHOWN_BYTES: usize = 80;

/// Holds a dialogue: each step waits for a line that its pattern matches, sets its labels, and then sends its own line.
/// What the server has said beyond the last expected line is dropped.
///
/// # Errors
/// Stage `connect` with the reason `response_mismatch` (no line has matched before the server closed the connection or
/// had said too much), `response_timeout`, or that of the socket.
pub(super) async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    steps: &[DialogueStep],
    labels: &mut Labels,
    deadline: Instant,
) -> Result<S, Failure> {
    if steps.is_empty() {
        return Ok(stream);
    }
    let mut dialogue = Dialogue {
        stream: BufReader::new(stream),
        left: MAX_BYTES,
        last: String::new(),
        line: Vec::new(),
    };
    let run = async {
        for step in steps {
            dialogue.step(step, labels).await?;
        }
        Ok(())
    };
    match timeout_at(deadline, run).await {
        Ok(result) => result?,
        Err(_) => return Err(dialogue.fail("response_timeout", "waiting for a matching line")),
    }
    Ok(dialogue.stream.into_inner())
}

struct Dialogue<S> {
    stream: BufReader<S>,
    /// Bytes that the server may still say.
    left: u64,
    /// Newest line of the server.
    last: String,
    /// What has come of the next one.
    line: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    async fn step(&mut self, step: &DialogueStep, labels: &mut Labels) -> Result<(), Failure> {
        let mut send = step.send.as_ref().map(|text| text.0.clone());
        if let Some(pattern) = &step.expect {
            let captures = loop {
                self.read().await?;
                if let Some(captures) = pattern.0.captures(&self.last) {
                    break captures;
                }
            };
            let expand = |template: &str| {
                let mut text = String::new();
                captures.expand(template, &mut text);
                text
            };
            send = send.map(|template| expand(&template));
            let values = step.labels.iter();
            labels.extend(values.map(|(name, value)| (name.0.clone(), printable(&expand(value)))));
        }
        if let Some(text) = send {
            let line = format!("{text}\n");
            let written = self.stream.write_all(line.as_bytes()).await;
            written.map_err(|error| Failure::io(Stage::Connect, &error))?;
            let flushed = self.stream.flush().await;
            flushed.map_err(|error| Failure::io(Stage::Connect, &error))?;
        }
        Ok(())
    }

    /// Reads a line, without its end.
    async fn read(&mut self) -> Result<(), Failure> {
        let read = (&mut self.stream).take(self.left).read_until(b'\n', &mut self.line).await;
        read.map_err(|error| Failure::io(Stage::Connect, &error))?;
        let line = std::mem::take(&mut self.line);
        self.left -= line.len() as u64;
        if line.is_empty() {
            let why = if self.left == 0 { "in 64 KiB" } else { "before the server closed" };
            return Err(self.fail("response_mismatch", &format!("no match {why}")));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').map_or(&*text, |text| text.trim_end_matches('\r'));
        text.clone_into(&mut self.last);
        Ok(())
    }

    fn fail(&self, reason: &'static str, what: &str) -> Failure {
        let begun = String::from_utf8_lossy(&self.line);
        let said = if begun.is_empty() { self.last.as_str() } else { &*begun };
        let shown: String = said.chars().filter(|c| !c.is_control()).take(SHOWN_BYTES).collect();
        let detail = match shown.as_str() {
            "" => format!("{what}; the server said nothing"),
            shown => format!("{what}; the server said last: {shown}"),
        };
        Failure::new(Stage::Connect, reason).with_detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::SecretText;
    use std::time::Duration;
    use tokio::io::duplex;

    fn step(expect: &str, send: &str) -> DialogueStep {
        DialogueStep {
            expect: (!expect.is_empty()).then(|| expect.parse().unwrap()),
            send: (!send.is_empty()).then(|| SecretText(send.to_owned())),
            ..DialogueStep::default()
        }
    }

    /// Holds a dialogue with a server that says one text, and returns the failure and what the server heard.
    async fn hold_with(
        says: &str,
        closes: bool,
        steps: &[DialogueStep],
    ) -> (Option<Failure>, String) {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(says.as_bytes()).await.unwrap();
        if closes {
            far.shutdown().await.unwrap();
        }
        let deadline = Instant::now() + Duration::from_millis(200);
        let result = hold(near, steps, &mut Labels::new(), deadline).await;
        let failure = result.map(drop).err();
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        (failure, heard)
    }

    #[tokio::test]
    async fn lines_are_matched_and_answered_with_what_they_said() {
        let irc =
            [step("", "NICK probe"), step("PING :([^ ]+)", "PONG ${1}"), step("^:[^ ]+ 001", "")];
        let says = ":irc NOTICE\r\nPING :x17\r\n:irc 001 hello\n";
        assert_eq!(hold_with(says, false, &irc).await, (None, "NICK probe\nPONG x17\n".to_owned()));
        let anchored = [step("^SSH-2\\.0-[^ ]+$", "SSH-2.0-dnscribe\r")];
        let (failure, heard) = hold_with("SSH-2.0-x\r\n", false, &anchored).await;
        assert_eq!((failure, heard.as_str()), (None, "SSH-2.0-dnscribe\r\n"));
        assert_eq!(hold_with("last line without end", true, &[step("end$", "")]).await.0, None);
    }

    #[tokio::test]
    async fn labels_have_what_the_server_said() {
        let label = |name: &str, value: &str| (name.parse().unwrap(), value.to_owned());
        let steps = [DialogueStep {
            labels: vec![label("version", "${1}"), label("comment", "${2}"), label("kind", "ssh")],
            ..step("^SSH-2\\.0-([^ -]+)(?: (.*))?$", "")
        }];
        for (says, version, comment) in [
            ("hello\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "OpenSSH_9.2p1", "Debian-2"),
            ("SSH-2.0-x\r\n", "x", ""),
            ("SSH-2.0-x\u{1b}[2J y\n", "x\u{fffd}[2J", "y"),
        ] {
            let (near, mut far) = duplex(1 << 20);
            far.write_all(says.as_bytes()).await.unwrap();
            let mut labels = Labels::new();
            let deadline = Instant::now() + Duration::from_secs(10);
            hold(near, &steps, &mut labels, deadline).await.unwrap();
            let expected = [("comment", comment), ("kind", "ssh"), ("version", version)];
            assert!(
                labels.iter().map(|(name, value)| (&**name, &**value)).eq(expected),
                "{labels:?}"
            );
        }
    }

    #[tokio::test]
    async fn servers_that_say_something_else_fail_in_bounded_space_and_time() {
        let steps = [step("^220", "")];
        for (says, closes, reason, detail) in [
            (
                "500 no\u{7}\r\n",
                true,
                "response_mismatch",
                "no match before the server closed; the server said last: 500 no",
            ),
            (
                "",
                true,
                "response_mismatch",
                "no match before the server closed; the server said nothing",
            ),
            (
                "22",
                false,
                "response_timeout",
                "waiting for a matching line; the server said last: 22",
            ),
            ("", false, "response_timeout", "waiting for a matching line; the server said nothing"),
            (&"x".repeat(100_000), false, "response_mismatch", "no match in 64 KiB"),
            (
                &"x\n".repeat(50_000),
                false,
                "response_mismatch",
                "no match in 64 KiB; the server said last: x",
            ),
        ] {
            let failure = hold_with(says, closes, &steps).await.0.unwrap();
            assert_eq!((failure.stage, failure.reason), (Stage::Connect, reason));
            let found = failure.detail.unwrap();
            assert!(found.starts_with(detail) && found.len() < 200, "{found}");
        }
    }
}
