//! The file sink of the binary: rotation in replay, a failing sink among others, rejected paths.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::pcap::{self, Datagram};
use dnscribe_tests::{environment, ledger, wire};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Replays the project's capture twelve times in a row into these files, about 300 KiB.
fn replay(files: &[&Path], variables: &[(&str, &str)]) -> Result<Output> {
    let capture = environment::lab_capture();
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").args([&capture; 12]).args(["--stream", "messages,transactions,ledger"]);
    for file in files {
        command.arg("--sink").arg(format!("file:{}", file.display()));
    }
    command.envs(variables.iter().copied()).output().context("cannot run the agent")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the files of a directory, the current one last.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<_>>>()?;
    files.sort_by_key(|path| (path.ends_with("out"), path.clone()));
    Ok(files)
}

fn last_record(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    Ok(serde_json::from_str(text.lines().last().context("no record")?)?)
}

#[test]
fn rotation_in_replay_is_deterministic() -> Result<()> {
    let whole = tempfile::tempdir()?;
    ensure!(replay(&[&whole.path().join("out")], &[])?.status.success());
    let whole = fs::read(whole.path().join("out"))?;
    let mut cuts = Vec::new();
    // The age of a file must have no effect here.
    let size = ("DNSCRIBE_FILE__ROTATE_BYTES", "64KiB");
    for variables in [vec![size], vec![size, ("DNSCRIBE_FILE__ROTATE_EVERY", "1s")]] {
        let cut = tempfile::tempdir()?;
        let output = replay(&[&cut.path().join("out")], &variables)?;
        ensure!(output.status.success(), "{}", stderr(&output));
        let parts = files(cut.path())?.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
        ensure!(parts.len() > 2 && parts.iter().all(|part| part.len() <= 64 << 10));
        ensure!(
            parts.iter().all(|part| part.ends_with(b"\n")),
            "a record is split between two files"
        );
        ensure!(parts.concat() == whole, "the records differ from those of one file");
        cuts.push(parts);
    }
    ensure!(cuts[0] == cuts[1], "the files were cut in other places");
    Ok(())
}

#[test]
fn replay_ends_with_the_last_frame_of_the_capture() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("capture");
    let packet = |second: u64, to: &str, payload: Vec<u8>| -> Result<Datagram> {
        let from = "198.51.100.7:40000".parse()?;
        Ok(Datagram { at_ns: second * 1_000_000_000, from, to: to.parse()?, payload })
    };
    let unanswered = packet(0, "192.0.2.53:53", wire::query(1, "example.com", wire::A)?)?;
    let other = packet(600, "192.0.2.80:80", b"no DNS".to_vec())?;
    for (packets, status, seconds) in
        [(vec![unanswered.clone()], "open", 0.0), (vec![unanswered, other], "timeout", 600.0)]
    {
        pcap::write_datagrams(fs::File::create(&capture)?, &packets)?;
        let mut command = Command::new(environment::binary()?);
        command.arg("replay").arg(&capture).args(["-o", "json", "--stream", "transactions,ledger"]);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", stderr(&output));
        let records = String::from_utf8(output.stdout)?;
        let records: Vec<Value> =
            records.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(records[0]["status"] == status, "{records:?}");
        let last = records.last().context("no ledger")?;
        ensure!(last["uptime_seconds"] == seconds && last["final"] == true, "{last}");
        ensure!(last["pairing"][status] == 1 && last["balanced"] == true, "{last}");
    }
    Ok(())
}

#[test]
fn zstd_reads_compressed_files() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out");
    let variables = [("DNSCRIBE_FILE__ROTATE_BYTES", "64KiB"), ("DNSCRIBE_FILE__COMPRESS", "zstd")];
    let output = replay(&[&out], &variables)?;
    ensure!(output.status.success(), "{}", stderr(&output));
    let parts = files(directory.path())?;
    let (last, rotated) = parts.split_last().context("no files")?;
    ensure!(
        rotated.len() > 1 && rotated.iter().all(|path| path.extension() == Some("zst".as_ref()))
    );
    let unpacked = Command::new("zstd").args(["-dc", "--"]).args(rotated).output()?;
    ensure!(unpacked.status.success(), "{}", stderr(&unpacked));
    let joined = directory.path().join("joined");
    fs::write(&joined, [unpacked.stdout, fs::read(last)?].concat())?;
    let verified =
        Command::new(environment::binary()?).args(["ledger", "verify"]).arg(joined).output()?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    Ok(())
}

#[test]
fn full_disk_ends_only_its_sink() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (full, out) = (Path::new("/dev/full"), directory.path().join("out"));
    let output = replay(&[full, &out], &[])?;
    ensure!(output.status.code() == Some(0), "{}", stderr(&output));
    let warnings: Vec<String> =
        stderr(&output).lines().filter(|line| line.contains("/dev/full")).map(Into::into).collect();
    ensure!(warnings.len() == 1 && warnings[0].contains("No space left"), "{warnings:?}");
    let last = last_record(&out)?;
    ensure!(last["final"] == true);
    ledger::verify(&last)?;
    for stream in ["messages", "transactions"] {
        let count = |sink: &str, path: &[&str]| {
            ledger::counter(&last, &[&["delivery", sink, stream], path].concat())
        };
        let records = count("file", &["records"])?;
        ensure!(records > 0 && count("file", &["dropped", "write_error"])? == records);
        ensure!(count("file_2", &["delivered"])? == records);
    }
    // If it is the only sink, the run fails.
    let alone = replay(&[full], &[])?;
    ensure!(alone.status.code() == Some(1), "{}", stderr(&alone));
    ensure!(stderr(&alone).contains("no sink is left"), "{}", stderr(&alone));
    Ok(())
}

#[test]
fn rejects_one_file_for_two_sinks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (out, link) = (directory.path().join("out"), directory.path().join("link"));
    std::os::unix::fs::symlink("out", &link)?;
    for paths in [[&out, &out], [&out, &link]] {
        let output = replay(&paths.map(PathBuf::as_path), &[])?;
        ensure!(output.status.code() == Some(2), "{}", stderr(&output));
        ensure!(stderr(&output).contains("are the same file"), "{}", stderr(&output));
        ensure!(!out.exists(), "rejected, but created");
    }
    Ok(())
}

#[test]
fn replays_no_file_into_itself() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let content = fs::read(environment::lab_capture())?;
    fs::write(at("capture"), &content)?;
    std::os::unix::fs::symlink("capture", at("link"))?;
    fs::hard_link(at("capture"), at("other"))?;
    for kind in ["file", "pcapng", "dnstap:file"] {
        for (input, sink) in [("capture", "capture"), ("link", "other"), ("-", "capture")] {
            let input = if input == "-" { input.into() } else { at(input) };
            let output = Command::new(environment::binary()?)
                .args(["replay", "--sink", &format!("{kind}:{}", at(sink).display())])
                .arg(input)
                .stdin(fs::File::open(at("capture"))?)
                .output()?;
            ensure!(output.status.code() == Some(2), "{}", stderr(&output));
            ensure!(stderr(&output).contains("another path"), "{}", stderr(&output));
            ensure!(fs::read(at("capture"))? == content, "the input has changed");
            ensure!(fs::read_dir(directory.path())?.count() == 3, "the input is renamed");
        }
    }
    Ok(())
}
