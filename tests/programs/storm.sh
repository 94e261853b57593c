#!/bin/sh
# Forks at a steady rate and prints how often it did: each child ends at once, or is a program that does.
# Ends by itself, and never has more than one child at a time.
#
# usage: storm.sh FORKS_PER_SECOND SECONDS [PROGRAM]
set -eu

rate=$1
seconds=$2
program=${3-}

# Hundredths of a second since boot, in `now`. A builtin, so that looking at the clock forks nothing.
look() {
    read -r uptime _ < /proc/uptime
    now=${uptime%.*}${uptime#*.}
}

look
begun=$now
count=0
while [ $((now - begun)) -lt $((seconds * 100)) ]; do
    # As many as should have been made by now, and at most a hundred before the next look.
    due=$((rate * (now - begun) / 100 - count))
    if [ $due -le 0 ]; then
        sleep 0.01
        count=$((count + 1))
    fi
    [ $due -le 100 ] || due=100
    while [ $due -gt 0 ]; do
        if [ -n "$program" ]; then "$program"; else (:); fi
        due=$((due - 1))
        count=$((count + 1))
    done
    look
done
echo $count
