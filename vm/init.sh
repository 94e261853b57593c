#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a test machine: loads what disks need, and hands over to the root that it finds there.
# `netsonde.trial` on the kernel's command line asks for a sign of life and no more. `netsonde.script=PATH` is run in
# the root in place of its init, with the second disk at /payload.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
if grep -q netsonde.trial /proc/cmdline; then
    echo "netsonde-trial: alive"
    poweroff -f
fi
[ ! -e /modules/order ] || while read -r module; do
    insmod "/modules/$module" || echo "init: cannot load $module"
done </modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
mount -t ext4 /dev/vda /newroot || { echo "init: there is no root"; poweroff -f; }
umount /proc /sys
mount --move /dev /newroot/dev
script=
mount -t proc proc /proc
read -r words </proc/cmdline
for word in $words; do
    case $word in netsonde.script=*) script=${word#*=} ;; esac
done
umount /proc
if [ -z "$script" ]; then
    exec switch_root /newroot /sbin/init
fi
mkdir -p /newroot/payload
[ ! -b /newroot/dev/vdb ] || mount -t ext4 /newroot/dev/vdb /newroot/payload
exec switch_root /newroot /bin/bash "$script"
