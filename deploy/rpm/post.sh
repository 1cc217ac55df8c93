# $1: number of installed versions. First installation: the configuration may get passwords.
if [ "$1" -eq 1 ]; then
    chown root:dnscribe /etc/dnscribe
    chmod 0750 /etc/dnscribe
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" -gt 1 ]; then
        systemctl try-restart dnscribe.service
    fi
fi
