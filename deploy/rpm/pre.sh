# Creates the user before the files, because one of them belongs to its group. Same line as in sysusers.d.
printf 'u dnscribe - "DNS telemetry agent" /var/lib/dnscribe /usr/sbin/nologin\n' |
    systemd-sysusers --replace=/usr/lib/sysusers.d/dnscribe.conf -
