if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
# $1: number of remaining versions. Folders with files of others are kept; some may be gone.
if [ "$1" -eq 0 ]; then
    rmdir --ignore-fail-on-non-empty /usr/share/doc/dnscribe-kpi /etc/dnscribe-kpi /usr/lib/dnscribe-kpi || :
fi
