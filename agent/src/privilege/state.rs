//! Privileges of a thread, as the kernel reports them.

use caps::{CapSet, Capability};
use nix::unistd::{Uid, User};
use std::fs;

/// Describes user, capabilities and restrictions of this thread, for the log.
pub(super) fn of_this_thread() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let held = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let mut held: Vec<_> = held.iter().map(Capability::to_string).collect();
    held.sort();
    let capabilities = if held.is_empty() { "none".to_owned() } else { held.join(" ") };
    let mut text = format!("user {}, capabilities: {capabilities}", user());
    for (field, words) in [("NoNewPrivs", "no_new_privs"), ("Seccomp", "seccomp")] {
        if value(&status, field).is_some_and(|value| value != "0") {
            text.push_str(", ");
            text.push_str(words);
        }
    }
    text
}

fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} ({uid})", user.name),
        _ => uid.to_string(),
    }
}

/// Returns a field of /proc/PID/status.
fn value<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_by_their_full_names() {
        let status = "Seccomp_filters:\t1\nSeccomp:\t2\nNoNewPrivs:\t0\n";
        assert_eq!((value(status, "Seccomp"), value(status, "NoNewPrivs")), (Some("2"), Some("0")));
        assert_eq!(value(status, "Sec"), None);
        assert!(of_this_thread().starts_with("user "));
    }
}
