use super::*;
use crate::capture::live::message_sockets;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::symlink;

const STAMP: &str = "20261120T073000.000000001Z";

/// A folder with a file to read, a file of records, and others.
fn folder() -> (tempfile::TempDir, FileList) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config", "records", "secret", "other"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let path = |name| folder.path().canonicalize().unwrap().join(name);
    let list = FileList { read: vec![path("config")], sinks: vec![path("records")] };
    (folder, list)
}

fn text(answer: FileAnswer) -> String {
    let FileAnswer::File(mut file) = answer else { panic!("{answer:?}") };
    let mut text = String::new();
    // A list was written to its end.
    let _ = file.rewind();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn acts_only_on_its_files() {
    let (_folder, list) = folder();
    let base = list.read[0].parent().unwrap().to_path_buf();
    let rotated = base.join(format!("records.{STAMP}"));
    let at = |name: &str| base.join(name);
    let allowed = [
        FileRequest::Read(at("config")),
        FileRequest::Append { path: at("records"), create: false },
        FileRequest::Metadata(at("records")),
        FileRequest::Canonicalize(at("records")),
        FileRequest::List(at("records")),
        FileRequest::Rename { from: at("records"), to: rotated.clone() },
        FileRequest::Append { path: at("records"), create: true },
        FileRequest::Read(rotated.clone()),
        FileRequest::CreateNew(base.join(format!("records.{STAMP}.zst.tmp"))),
        FileRequest::Rename {
            from: base.join(format!("records.{STAMP}.zst.tmp")),
            to: base.join(format!("records.{STAMP}.zst")),
        },
        FileRequest::Remove(rotated.clone()),
    ];
    for request in allowed {
        list.answer(&request, None).unwrap_or_else(|why| panic!("{request:?}: {why}"));
    }
    let dots = base.join("../").join(base.file_name().unwrap()).join("secret");
    let below = base.join(format!("records.{STAMP}/../secret"));
    for path in [at("secret"), at("other"), at("config"), dots, below] {
        let is_config = path == at("config");
        for request in [
            FileRequest::Read(path.clone()),
            FileRequest::Append { path: path.clone(), create: true },
            FileRequest::CreateNew(path.clone()),
            FileRequest::Rename { from: path.clone(), to: rotated.clone() },
            FileRequest::Rename { from: at("records"), to: path.clone() },
            FileRequest::Remove(path.clone()),
            FileRequest::Metadata(path.clone()),
            FileRequest::Canonicalize(path.clone()),
            FileRequest::List(path.clone()),
        ] {
            if is_config && matches!(request, FileRequest::Read(_)) {
                continue;
            }
            let refused = list.answer(&request, None).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{request:?}");
            assert_eq!(refused.raw_os_error(), None, "not even tried: {request:?}");
        }
    }
    for write in [at("records"), at("config")] {
        let refused = list.answer(&FileRequest::Remove(write), None).unwrap_err();
        assert_eq!((refused.kind(), refused.raw_os_error()), (ErrorKind::PermissionDenied, None));
    }
    assert_eq!(fs::read_to_string(at("secret")).unwrap(), "secret");
}

#[test]
fn new_files_get_mode_but_no_power() {
    let (_folder, list) = folder();
    let sink = &list.sinks[0];
    fs::remove_file(sink).unwrap();
    let like = File::open(&list.read[0]).unwrap();
    like.set_permissions(Permissions::from_mode(0o6604)).unwrap();
    let request = FileRequest::Append { path: sink.clone(), create: true };
    list.answer(&request, Some(&like)).unwrap();
    assert_eq!(sink.metadata().unwrap().mode() & 0o7777, 0o604);
}

#[test]
fn follows_the_link_of_a_sink_only() {
    let (folder, mut list) = folder();
    let link = folder.path().join("link");
    symlink("records", &link).unwrap();
    let records = std::mem::take(&mut list.sinks).remove(0);
    list.sinks.push(link.clone());
    for path in [&link, &records] {
        list.answer(&FileRequest::Metadata(path.clone()), None).unwrap();
    }
    let FileAnswer::Path(real) =
        list.answer(&FileRequest::Canonicalize(link.clone()), None).unwrap()
    else {
        panic!("no path")
    };
    assert_eq!(real, records);
    let beside = FileRequest::Remove(folder.path().join(format!("link.{STAMP}")));
    list.answer(&beside, None).expect_err("rotated files are beside the target");
}

#[test]
fn serves_over_a_socket() {
    let (_folder, list) = folder();
    let (ours, theirs) = message_sockets().unwrap();
    let server = std::thread::spawn(move || {
        let mut given = None;
        serve(&theirs, |list| given = Some(list.clone())).map(|()| given)
    });
    let client = BrokerClient::start(ours, &list).unwrap();
    let config = client.request(&FileRequest::Read(list.read[0].clone()), None).unwrap();
    assert_eq!(text(config), "config");
    let names = client.request(&FileRequest::List(list.sinks[0].clone()), None).unwrap();
    assert_eq!(text(names), "records\0");
    let missing = list.sinks[0].with_file_name(format!("records.{STAMP}"));
    let error = client.request(&FileRequest::Read(missing), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let secret = list.read[0].with_file_name("secret");
    let error = client.request(&FileRequest::Read(secret), None).unwrap_err();
    let user = format!("permission denied for user {}", geteuid().as_raw());
    assert!(error.to_string().contains(&user), "{error}");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    drop(client);
    assert_eq!(server.join().unwrap().unwrap(), Some(list));
}

/// Between two steps of a rotation there is no file to ask where it is.
#[test]
fn missing_file_without_a_directory_is_in_the_current_one() {
    let current = std::env::current_dir().unwrap().canonicalize().unwrap();
    let (name, folder) = (Path::new("missing.ndjson"), tempfile::tempdir().unwrap());
    assert_eq!(target(name), current.join(name));
    let absolute = folder.path().canonicalize().unwrap().join(name);
    assert_eq!(target(&absolute), absolute);
}
