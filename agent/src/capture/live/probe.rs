//! What `dnscribe check` asks of the host.
