#!/programs/busybox sh
# First process of the guest: mounts cgroups in the layout that the kernel's command line names, sends and answers DNS
# queries while the agent captures, and writes the results to a serial port, in sections that the host parses and
# evaluates.

export PATH=/bin:/programs
/programs/busybox --install -s /bin
# The shell prefers busybox's applet.
ip=/programs/ip
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mount -t securityfs none /sys/kernel/security
for word in $(cat /proc/cmdline); do
    case $word in
    vm.report=*)
        stty -F "/dev/${word#*=}" raw 115200
        exec 3>"/dev/${word#*=}"
        ;;
    esac
done

# Writes a section: NAME CODE FILE….
report_section() {
    name=$1 code=$2
    shift 2
    {
        echo "@begin $name"
        for file in "$@"; do
            echo "@file ${file##*/}"
            cat "$file"
        done
        echo "@end $name $code"
    } >&3
}

finish() {
    uptime=$(cut -d' ' -f1 /proc/uptime)
    echo "@done $uptime" >&3
    sync
    poweroff -f
}

layout() {
    case $1 in
    unified) mount -t cgroup2 none /sys/fs/cgroup ;;
    hybrid | legacy)
        mount -t tmpfs none /sys/fs/cgroup
        mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
        # Controllers that this kernel still offers in version 1.
        for controller in cpu memory pids net_cls; do
            mkdir /sys/fs/cgroup/$controller
            mount -t cgroup -o $controller none /sys/fs/cgroup/$controller 2>/dev/null ||
                rmdir /sys/fs/cgroup/$controller
        done
        ;;
    esac
    if [ "$1" = hybrid ]; then
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 none /sys/fs/cgroup/unified
    fi
    grep cgroup /proc/mounts >/tmp/mounts
    report_section layout 0 /tmp/mounts
}

# Starts a server in a network namespace. Its second address has no listener.
network() {
    {
        for module in /modules/*.ko; do
            insmod "$module"
        done
        $ip link set lo up
        $ip netns add server
        $ip link add uplink type veth peer name uplink netns server
        $ip address add 192.0.2.1/24 dev uplink
        $ip address add 2001:db8::1/64 dev uplink nodad
        $ip link set uplink up
        inside="$ip netns exec server"
        $inside $ip link set lo up
        $inside $ip address add 192.0.2.53/24 dev uplink
        $inside $ip address add 192.0.2.54/24 dev uplink
        $inside $ip address add 2001:db8::53/64 dev uplink nodad
        $inside $ip link set uplink up
        mkdir -p /run/knot
        $inside knotd -c /etc/knot.conf -d
        for _ in 1 2 3 4 5 6 7 8 9; do
            ask a 192.0.2.53 first +notcp && ask aaaa 2001:db8::53 first +notcp && break
            sleep 1
        done
    } >/tmp/network 2>&1
    report_section network 0 /tmp/network
}

# Queries NAME.vm.test: TYPE SERVER NAME OPTION….
ask() {
    type=$1 server=$2 name=$3
    shift 3
    kdig "@$server" "$name.vm.test" "$type" +retry=0 +timeout=5 "$@" | grep -q NOERROR
}

questions() {
    ask a 192.0.2.53 "udp4.$1" +notcp || echo "no answer: udp4"
    ask aaaa 2001:db8::53 "udp6.$1" +notcp || echo "no answer: udp6"
    ask a 192.0.2.53 "tcp4.$1" +tcp || echo "no answer: tcp4"
    ask a 2001:db8::53 "tcp6.$1" +tcp || echo "no answer: tcp6"
    ask a 192.0.2.54 "closed.$1" +notcp +timeout=1 2>/dev/null && echo "an answer from a closed port"
    return 0
}

check() {
    section=$1
    shift
    "$@" dnscribe check -o json >/tmp/report 2>/tmp/stderr
    report_section "$section" $? /tmp/report /tmp/stderr
}

# Captures by a hook during queries: SECTION HOOK.
capture() {
    dnscribe run --hook "$2" --stream transactions,ledger --sink stdout -o json \
        >/tmp/records 2>/tmp/stderr &
    agent=$!
    until wget -q -O /dev/null http://127.0.0.1:9353/readyz 2>/dev/null; do
        kill -0 $agent 2>/dev/null || break
        sleep 1
    done
    : >/tmp/questions
    if kill -0 $agent 2>/dev/null; then
        questions "$1" >/tmp/questions 2>&1
        kill -TERM $agent
    fi
    wait $agent
    report_section "$1" $? /tmp/records /tmp/stderr /tmp/questions
}

as_nobody() {
    su -s /bin/sh nobody -c "$*"
}

# Tests the agent with features of this kernel hidden or disabled.
missing_features() {
    check no-privilege as_nobody
    check connections env DNSCRIBE_CAPTURE__CONNECTIONS=true
    (
        export DNSCRIBE_CAPTURE__PATH=true
        check path
        capture path-cgroup cgroup
    )
    # All the memory of this machine.
    check ring-too-large env DNSCRIBE_CAPTURE__RING_BYTES=1GiB
    mount -t tmpfs none /sys/kernel/btf
    check no-btf
    check no-btf-connections env DNSCRIBE_CAPTURE__CONNECTIONS=true
    check no-btf-path env DNSCRIBE_CAPTURE__PATH=true
    capture no-btf-cgroup cgroup
    umount /sys/kernel/btf
    echo 2 >/proc/sys/kernel/unprivileged_bpf_disabled
    check unprivileged-bpf-disabled
    echo confidentiality >/sys/kernel/security/lockdown
    check lockdown
    check lockdown-connections env DNSCRIBE_CAPTURE__CONNECTIONS=true
    check lockdown-path env DNSCRIBE_CAPTURE__PATH=true
    capture lockdown-cgroup cgroup
}

for word in $(cat /proc/cmdline); do
    case $word in
    vm.layout=*) layout "${word#*=}" ;;
    esac
done
network
check check
for word in $(cat /proc/cmdline); do
    case $word in
    vm.hooks=*) for hook in $(echo "${word#*=}" | tr , ' '); do capture "$hook" "$hook"; done ;;
    vm.missing) missing_features ;;
    esac
done
finish
