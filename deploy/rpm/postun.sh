if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
# $1: how many versions stay. Folders that are not empty hold what is not the package's.
if [ "$1" -eq 0 ]; then
    rmdir --ignore-fail-on-non-empty /usr/share/doc/dnscribe /etc/dnscribe
fi
