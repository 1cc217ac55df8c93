# $1: number of installed versions.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" -gt 1 ]; then
        systemctl try-restart dnscribe-kpi.service
    fi
fi
