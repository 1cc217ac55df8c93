# $1: number of remaining versions.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now dnscribe-probe.service
fi
