#!/bin/sh
# Pulls what declared sources have, imports what has arrived, and computes. Files are in SPOOL/SOURCE/, one folder for each source;
# the map of a source, if it needs one, is MAPS/SOURCE.yaml. Files that were imported before change nothing. Ends with 1 if a source
# or a file could not be imported, after all others.
set -u
spool=${1:-/var/spool/dnscribe-kpi}
maps=${2:-/etc/dnscribe-kpi/maps}
failed=0
for file in "$spool"/*/*; do
    [ -f "$file" ] || continue
    source=$(basename "$(dirname "$file")")
    set -- "$file" --source "$source"
    [ -f "$maps/$source.yaml" ] && set -- "$@" --map "$maps/$source.yaml"
    dnscribe-kpi import "$@" || failed=1
done
dnscribe-kpi pull || failed=1
dnscribe-kpi compute --final || exit
exit "$failed"
