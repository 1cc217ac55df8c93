# Before the files, one of which belongs to the group; the same line as in sysusers.d.
printf 'u dnscribe - "DNS telemetry agent" /var/lib/dnscribe /usr/sbin/nologin\n' |
    systemd-sysusers --replace=/usr/lib/sysusers.d/dnscribe.conf -
