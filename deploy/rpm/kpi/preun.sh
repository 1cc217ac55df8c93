# $1: number of remaining versions.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now dnscribe-kpi.service dnscribe-kpi-import.timer
fi
