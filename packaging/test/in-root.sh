#!/bin/bash
# What holds of the installed packages, tried inside a Debian that systemd runs, as root. /packages has what fill.sh puts
# there; the last line says how it went.
# Checks are called through `holds`.
# shellcheck disable=SC2317
set -uo pipefail
cd /packages || exit

failures=0
checks=0
# Of a machine that is slow: so many times longer is waited.
patience=$(cat patience 2>/dev/null || echo 1)

# SENTENCE COMMAND...: the command must succeed.
holds() {
    local sentence=$1
    shift
    checks=$((checks + 1))
    local said
    if said=$("$@" 2>&1); then
        echo "ok      $sentence"
    else
        failures=$((failures + 1))
        echo "FAILED  $sentence: $*"
        printf '        | %s\n' "${said//$'\n'/$'\n'        | }"
    fi
}

# COMMAND...: the command must fail.
not() { ! "$@"; }

# SECONDS COMMAND...: until it succeeds.
within() {
    local deadline=$((SECONDS + $1 * patience))
    shift
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $deadline ]] || { "$@"; return 1; }
        sleep 0.2
    done
}

equal() { [[ $1 == "$2" ]] || { echo "is '$1', not '$2'"; return 1; }; }
property() { systemctl show --property="$1" --value netsonde; }
is() { equal "$(property "$1")" "$2"; }
mode_is() { equal "$(stat --format='%U:%G %a' "$1")" "$2"; }
user_is() { equal "$(awk '$1 == "Uid:" { print $2 }' "/proc/$(property MainPID)/status")" "$(id --user "$1")"; }
active() { systemctl is-active --quiet netsonde; }
journal_has() { journalctl --unit=netsonde --output=cat --grep="$1" --quiet; }
pid_differs() { [[ $(property MainPID) != "$1" && $(property MainPID) != 0 ]]; }
# A line of OTLP/JSON that tells of a close and of curl.
curl_was_seen() { grep '"netsonde.tcp.close"' /var/log/netsonde/flows.jsonl | grep --quiet '"/usr/bin/curl"'; }

# COMMAND...: netsonde's status is all well, but for records of processes of the host outside, which the probes see and
# nobody can name in here (the kernel tells pids of the host, and /proc has those of this container).
all_well() {
    local answer
    answer=$("$@")
    echo "$answer"
    grep --quiet '^ok *sweep ' <<<"$answer" || return 1
    ! grep -E '^(degraded|failed)' <<<"$answer" |
        grep --quiet -vE '^degraded  processes .*, 0 forgotten early, [0-9]+ records unattributed$'
}

# SECTION [LANGUAGE]: what the guide has there as code, literally; commands when no language is given.
guide() {
    awk -v heading="$1" -v fence="\`\`\`${2:-sh}" '/^#+ / { inside = ($0 ~ "^#+ " heading "$"); next }
        inside && $0 == fence { code = 1; next } /^```$/ { code = 0 } inside && code' /packages/guide.md
}

# dnf ends well even if a script in a package did not.
dnf_does() {
    local said
    said=$("$@" 2>&1) || { echo "$said"; return 1; }
    ! grep -iE 'scriptlet failed|error' <<<"$said"
}

# SECTION: runs its commands, one after the other, and each must succeed.
follows() {
    local section=$1 command count=0
    while read -r command; do
        count=$((count + 1))
        case $command in
        "netsonde status") holds "the guide's '$command'" all_well netsonde status ;;
        "dnf "*) holds "the guide's '$command'" dnf_does bash -c "$command" </dev/null ;;
        # There is no compiler here: what it makes is there.
        "make build") holds "what the guide's '$command' makes is there" test -x target/release/netsonde ;;
        *) holds "the guide's '$command'" bash -c "$command" </dev/null ;;
        esac
    done < <(guide "$section")
    holds "the guide has commands under '$section'" test "$count" -gt 0
}

fetches=0
make_traffic() {
    python3 -m http.server 8000 --bind 127.0.0.1 --directory /etc >/dev/null 2>&1 &
    local server=$!
    # Nothing listens at first: those are refused, and no connections.
    within 10 curl --silent --output /dev/null http://127.0.0.1:8000/passwd && echo "fetched $((++fetches))"
    kill "$server"
}

echo "== install"
follows "From the Debian package"
holds "the user is there" id netsonde
holds "the configuration is root's, and the group may read it" mode_is /etc/netsonde/netsonde.toml "root:netsonde 640"
holds "so is its folder" mode_is /etc/netsonde "root:netsonde 750"
holds "installing has enabled it" systemctl is-enabled --quiet netsonde
if ! within 60 active; then
    systemctl status --no-pager --full --lines=30 netsonde
    echo "0 passed, 1 failed: it does not start"
    exit 1
fi
holds "it runs as its own user" user_is netsonde
holds "its status is all well" within 20 all_well netsonde status
holds "the socket is for root and the group" mode_is /run/netsonde/netsonde.sock "netsonde:netsonde 660"
holds "its state is its own" mode_is /var/lib/netsonde "netsonde:netsonde 700"
useradd --groups netsonde member && useradd stranger
holds "a member of the group may ask" all_well runuser --user member -- netsonde status
holds "a stranger may not" not runuser --user stranger -- netsonde status
holds "dashboards are there" test -s /usr/share/netsonde/grafana/dashboards/tcp-latency.json
holds "alert rules are there" test -s /usr/share/netsonde/prometheus/alerts.yml -a ! -e /usr/share/netsonde/prometheus/tests
holds "man pages are there" test -s /usr/share/man/man1/netsonde.1.gz -a -s /usr/share/man/man5/netsonde.toml.5.gz
netsonde --version
grep -E '^Cap(Eff|Prm|Amb|Bnd)|^NoNewPrivs|^Seccomp:|^VmRSS' "/proc/$(property MainPID)/status"
systemd-analyze security --no-pager netsonde | tail -1

echo "== traffic"
sed -i -e 's/^#interval = .*/interval = "1s"/' -e '/^\[export.file\]/,/^\[/s|^#path = .*|path = "/var/log/netsonde/flows.jsonl"|' \
    /etc/netsonde/netsonde.toml
# Where there is somebody to take it: a collector outside of this machine.
if [[ -e collector ]]; then
    sed -i -e "0,/^#endpoint = .*/s||endpoint = \"$(<collector)\"|" \
        -e '0,/^#protocol = .*/s||protocol = "http/protobuf"|' /etc/netsonde/netsonde.toml
fi
holds "the configuration is right" netsonde check-config --quiet
holds "it restarts" systemctl restart netsonde
make_traffic
holds "traffic is seen with its program" within 20 curl_was_seen

echo "== another network namespace"
# netsonde knows pids of the host, and /proc here has those of this container, so its own sweep of other namespaces can
# be seen in a virtual machine only. Whether the unit lets it in is seen here.
unshare --net sleep 60 &
elsewhere=$!
mkdir -p /run/systemd/system/netsonde.service.d
cat >/run/systemd/system/netsonde.service.d/test.conf <<END
[Service]
ExecStartPre=/usr/bin/nsenter --net=/proc/$elsewhere/ns/net true
END
systemctl daemon-reload
holds "the unit lets it enter the network namespace of another user's process" systemctl restart netsonde
sed -i 's/--net=/--uts=/; s|/ns/net|/ns/uts|' /run/systemd/system/netsonde.service.d/test.conf
systemctl daemon-reload
holds "and no namespace of another kind" not systemctl restart netsonde
rm -r /run/systemd/system/netsonde.service.d && systemctl daemon-reload && systemctl restart netsonde
kill "$elsewhere"

echo "== reload"
sed -i 's/^interval = .*/interval = "500ms"/' /etc/netsonde/netsonde.toml
pid=$(property MainPID)
follows "Configure the service"
holds "and says so" within 10 journal_has "the configuration was read again"
cp /etc/netsonde/netsonde.toml /tmp/right.toml
echo 'nonsense = 1' >>/etc/netsonde/netsonde.toml
holds "a wrong configuration is refused" not systemctl reload netsonde
holds "with what is wrong" within 5 journal_has "nonsense"
holds "and it goes on" active
cat /tmp/right.toml >/etc/netsonde/netsonde.toml
holds "in the same process" equal "$(property MainPID)" "$pid"

echo "== a credential"
echo "a token" >/etc/netsonde/otlp-token && chmod 600 /etc/netsonde/otlp-token
mkdir -p /run/systemd/system/netsonde.service.d
guide "Configure the service" ini >/run/systemd/system/netsonde.service.d/test.conf
systemctl daemon-reload
holds "it starts with the guide's credential" systemctl restart netsonde
holds "which is its user's alone" \
    runuser --user netsonde -- grep --quiet "a token" /run/credentials/netsonde.service/otlp-token
holds "and nobody else's" not runuser --user stranger -- cat /run/credentials/netsonde.service/otlp-token
rm -r /run/systemd/system/netsonde.service.d && systemctl daemon-reload && systemctl restart netsonde
pid=$(property MainPID)

echo "== killed, and stuck"
kill -KILL "$pid"
holds "it comes back after kill -9" within 30 pid_differs "$pid"
holds "and is ready" within 30 active
mkdir -p /run/systemd/system/netsonde.service.d
printf '[Service]\nWatchdogSec=%ss\n' "$((3 * patience))" >/run/systemd/system/netsonde.service.d/test.conf
systemctl daemon-reload && systemctl restart netsonde
pid=$(property MainPID)
kill -STOP "$pid"
holds "the watchdog starts a stuck one anew" within 30 pid_differs "$pid"
rm -r /run/systemd/system/netsonde.service.d && systemctl daemon-reload && systemctl restart netsonde

echo "== wrong configuration at the start"
mv /etc/netsonde/netsonde.toml /tmp/kept.toml
echo 'nonsense = 1' >/etc/netsonde/netsonde.toml
holds "it does not start" not systemctl restart netsonde
holds "and is not tried again" within 5 is ExecMainStatus 78
sleep 3
holds "it stays failed" is SubState failed
cat /tmp/kept.toml >/etc/netsonde/netsonde.toml
chown root:netsonde /etc/netsonde/netsonde.toml && chmod 640 /etc/netsonde/netsonde.toml
systemctl reset-failed netsonde
holds "it starts with the right one" systemctl start netsonde

echo "== upgrade"
pid=$(property MainPID)
touch /var/lib/netsonde/marker
holds "apt upgrades" apt-get install --yes --quiet ./netsonde_*-2_*.deb
holds "a new process runs" within 30 pid_differs "$pid"
holds "and is ready" within 30 active
holds "the changed configuration is kept" grep -q 'interval = "500ms"' /etc/netsonde/netsonde.toml
holds "and its mode" mode_is /etc/netsonde/netsonde.toml "root:netsonde 640"
holds "the state is kept" test -e /var/lib/netsonde/marker
rm -f /var/log/netsonde/flows.jsonl && systemctl restart netsonde
make_traffic
holds "traffic is seen" within 20 curl_was_seen

echo "== a restart loses no namespace, a stop leaves nothing"
holds "it stops" systemctl stop netsonde
holds "in order" is Result success
holds "and leaves no socket" test ! -e /run/netsonde
systemctl start netsonde

echo "== remove and purge"
# Errors that were provoked above: wrong configurations, kills, the watchdog.
provoked='nonsense|status=78|Failed with result|signal|watchdog|Watchdog|Failed to start|Main process exited|control process exited|Reload failed|^ *\||^ *[0-9]+ \||^$|Killing process'
unexpected() { journalctl --unit=netsonde --priority=warning --output=cat --quiet | grep -vE "$provoked"; }
errors() { journalctl --unit=netsonde --output=cat --quiet | grep -E ' (WARN|ERROR) ' | grep -vE "$provoked"; }
holds "the journal has no error of systemd's that was not provoked" not unexpected
holds "nor one of its own" not errors
follows "Remove it"
holds "nothing is left of its folders" \
    bash -c '! ls -d /etc/netsonde /var/lib/netsonde /var/log/netsonde /run/netsonde 2>/dev/null'
holds "nor of its unit" bash -c '! systemctl cat netsonde >/dev/null 2>&1'
holds "nor of its binary" test ! -e /usr/bin/netsonde
holds "nor links to it" bash -c '! find /etc/systemd -name "netsonde*" | grep .'
userdel member && userdel stranger && userdel netsonde

echo "== from source"
cd source || exit
follows "From source"
cd /packages || exit
holds "and is well" within 20 all_well netsonde status
holds "the configuration is root's, and the group may read it" mode_is /etc/netsonde/netsonde.toml "root:netsonde 640"
systemctl disable --quiet --now netsonde
rm -rf /usr/bin/netsonde /etc/systemd/system/netsonde.service /etc/{sysusers,tmpfiles}.d/netsonde.conf /etc/netsonde \
    /var/lib/netsonde /var/log/netsonde
systemctl daemon-reload
userdel netsonde

echo "== rpm"
# What the package wants of a distribution of its kind, whose own packages rpm would know.
cat >/tmp/base.spec <<'END'
Name: base
Version: 1
Release: 1
Summary: Stands for the packages that every such distribution has
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh systemd
%description
%{summary}.
%files
END
rpmbuild --quiet -bb --define "_rpmdir /tmp" /tmp/base.spec 2>/dev/null
# What Fedora and its kin have as their policy.
mkdir -p /usr/lib/systemd/system-preset && echo 'disable *' >/usr/lib/systemd/system-preset/99-default.preset
quiet() {
    local said
    said=$("$@" 2>&1) || { echo "exit code $?: $said"; return 1; }
    # rpm's exit code hides scripts that failed, so nothing may be said but what Debian's rpm says in any case, what
    # systemd-sysusers has made, and which configuration was kept aside.
    said=$(grep -vE -e '^rpm: (RPM should not be used|However assuming)' -e '^Creating (user|group) .netsonde. ' \
        -e '^warning: .* saved as .*rpmsave$' <<<"$said")
    [[ -z $said ]] || { echo "$said"; return 1; }
}
rpm --initdb
holds "a base is there" quiet rpm --install /tmp/noarch/base-1-1.noarch.rpm
holds "rpm installs" quiet rpm --install ./netsonde-*-1.*.rpm
holds "it verifies" quiet rpm --verify netsonde
holds "the user is there" id netsonde
holds "the configuration is root's, and the group may read it" mode_is /etc/netsonde/netsonde.toml "root:netsonde 640"
holds "its folder too" mode_is /etc/netsonde "root:netsonde 750"
holds "nothing is enabled" not systemctl is-enabled --quiet netsonde
holds "nothing was started" not active
holds "it can be started" systemctl enable --quiet --now netsonde
holds "and is well" within 20 all_well netsonde status
sed -i 's/^#interval = .*/interval = "2s"/' /etc/netsonde/netsonde.toml
pid=$(property MainPID)
holds "rpm upgrades" quiet rpm --upgrade ./netsonde-*-2.*.rpm
holds "a new process runs" within 30 pid_differs "$pid"
holds "the changed configuration is kept" grep -q 'interval = "2s"' /etc/netsonde/netsonde.toml
holds "rpm erases" quiet rpm --erase netsonde
holds "it is stopped" not active
holds "the changed configuration is kept aside" test -e /etc/netsonde/netsonde.toml.rpmsave
holds "no link is left" bash -c '! find /etc/systemd -name "netsonde*" | grep .'
rm /etc/netsonde/netsonde.toml.rpmsave

echo "== dnf"
follows "From the RPM package"
holds "it verifies" quiet rpm --verify netsonde
pid=$(property MainPID)
holds "dnf upgrades" dnf_does dnf upgrade --assumeyes ./netsonde-*-2.x86_64.rpm
holds "a new process runs" within 30 pid_differs "$pid"
holds "and is well" within 20 all_well netsonde status
follows "Remove the RPM package"
holds "it is stopped" not active
holds "nothing is left of it" bash -c '! find /etc /usr -name "netsonde*" | grep .'

journalctl --unit=netsonde --output=short-monotonic --no-pager >/packages/journal.txt
echo "$((checks - failures)) passed, $failures failed"
if [[ $failures -ne 0 ]]; then
    tail --lines=100 /packages/journal.txt
    exit 1
fi
